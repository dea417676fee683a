"""Headless Chromium, steered through its debugging pipe: nothing but the browser is needed."""

import base64
import contextlib
import json
import os
import select
import shutil
import tempfile

PATH = shutil.which("chromium") or shutil.which("google-chrome")

_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Keys that are no characters, and Windows' numbers of them.
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
         "ArrowDown": 40}  # fmt: skip

# Seconds for any answer; a start on a busy machine takes ten.
_PATIENCE = 60


class Page:
    """A page in a browser of its own.

    Attributes:
      problems: what the browser's console complained of, and uncaught exceptions.
      fetched: every address asked for that is not a data: URI.
    """

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._session, self._number, self._read, self._events = None, 0, b"", []
        self.problems, self.fetched = [], []

    def open(self, url, width, dark=False, scripts=True):
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.resize(width)
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.go(url)

    def go(self, url):
        """Opens an address in the same browser."""
        self._events.clear()
        self.send("Page.navigate", url=url)
        self._wait_for("Page.loadEventFired")

    def resize(self, width):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def evaluate(self, script):
        """The JSON-able value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key, shift=False):
        """Presses and lets go of a key: "Tab", "Enter", "ArrowDown", or a character."""
        common = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key) or ord(key.upper())}
        common |= {"code": key} if key in _KEYS else {}
        text = (
            {"text": "\r" if key == "Enter" else key} if key not in _KEYS or key == "Enter" else {}
        )
        modifiers = 8 if shift else 0
        self.send("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **common, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **common)

    def click(self, selector, shift=False):
        """Clicks into the middle of the first element that a CSS selector finds."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1,
                      modifiers=8 if shift else 0)  # fmt: skip

    def reload(self):
        """Loads the page anew."""
        self._events.clear()
        self.send("Page.reload")
        self._wait_for("Page.loadEventFired")

    def download(self, folder, act):
        """The text of the file that comes into a folder when `act()` is called."""
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder),
                  eventsEnabled=True)  # fmt: skip
        self._events.clear()
        self._downloaded = None
        act()
        while self._downloaded is None:
            self._receive()
        return (folder / self._downloaded).read_bytes().decode()

    def choose_file(self, selector, path):
        """Gives an <input type=file> a file, as its dialog does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        found = self.send("DOM.querySelector", nodeId=root, selector=selector)
        self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=found["nodeId"])

    def screenshot(self, path):
        """A PNG of the whole page, to look at."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def send(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _wait_for(self, event):
        while event not in self._events:
            self._receive()

    def _receive(self):
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from], [], [], _PATIENCE)
            assert ready, f"Chromium has said nothing for {_PATIENCE} s"
            more = os.read(self._from, 1 << 20)
            assert more, "Chromium has ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\0")
        message = json.loads(line)
        method, params = message.get("method"), message.get("params")
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
            self.problems.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(params["args"])
        elif method == "Browser.downloadWillBegin":
            self._begun = params["suggestedFilename"]
        elif method == "Browser.downloadProgress" and params["state"] == "completed":
            self._downloaded = self._begun
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            self.fetched += [] if url.startswith("data:") else [url]
        return message


@contextlib.contextmanager
def opened(file, width, dark=False, scripts=True):
    """A file, open as a page of `width` pixels."""
    # Chromium reads commands from descriptor 3 and answers on 4.
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (1, 2)]
    wired = [(os.POSIX_SPAWN_DUP2, commands_out, 3), (os.POSIX_SPAWN_DUP2, answers_in, 4)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PATH, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        browser = os.posix_spawn(PATH, command, os.environ, file_actions=[*silent, *wired])
        os.close(commands_out)
        os.close(answers_in)
        page = Page(commands_in, answers_out)
        try:
            page.open(file.as_uri(), width, dark, scripts)
            yield page
        finally:
            os.close(commands_in)  # at which Chromium ends
            os.waitpid(browser, 0)
            os.close(answers_out)
