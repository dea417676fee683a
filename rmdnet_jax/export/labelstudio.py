"""Label issues as tasks of Label Studio, the suggested class of each picture as a prediction; and
the labelling interface that the tasks need."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.text import shown
from rmdnet_jax.data import label_kinds
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.evaluation.label_issues import LabelIssues

# In the interface and in every prediction.
_CHOICE, _IMAGE = "class", "image"

# Where Label Studio serves files of its own disk from, with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
_LOCAL = "/data/local-files/?d="


def write(path: Path, issues: LabelIssues, classes: Sequence[object], files: Sequence[str]) -> None:
    """Writes a task a picture, the most suspicious label first, and beside it, as an .xml, the
    labelling interface.

    A task's data has the picture in Label Studio's local storage, its path, given_label, score,
    is_issue and kind; its prediction is the suggested class, with the same score: how suspicious
    the given label is.

    Args:
      path: the JSON file.
      issues: of N pictures.
      classes: what each is called.
      files: the path of each picture in the folder of them.

    Raises:
      OSError: a file cannot be written.
    """
    names = [shown(str(name)) for name in classes]
    tasks = []
    for place in label_issues.ranking(issues).tolist():
        score = round(float(issues.score[place]), 6)
        chosen = {"choices": [names[issues.suggested[place]]]}
        result = {"from_name": _CHOICE, "to_name": _IMAGE, "type": "choices", "value": chosen}
        data = {
            "image": _LOCAL + quote(files[place]),
            "path": files[place],
            "given_label": names[issues.given[place]],
            "score": score,
            "is_issue": bool(issues.is_issue[place]),
            "kind": label_kinds.KINDS[issues.kind[place]],
        }
        predictions = [{"model_version": "rmdnet_jax", "score": score, "result": [result]}]
        tasks.append({"data": data, "predictions": predictions})
    with open_atomic(path.with_suffix(".xml")) as text:
        text.write(_interface(names))
    with open_atomic(path) as text:
        json.dump(tasks, text)


def _interface(names: Sequence[str]) -> str:
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in names)
    return f"""<View>
  <Image name="{_IMAGE}" value="$image"/>
  <Header value="labelled as $given_label"/>
  <Choices name="{_CHOICE}" toName="{_IMAGE}" choice="single" showInline="true">
{choices}
  </Choices>
</View>
"""
