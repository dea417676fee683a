"""A CPU's cores as devices, and the options that make its programs fast."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from rmdnet_jax.machine import cpu


@pytest.mark.parametrize(
    ("batch_sizes", "cores", "expected"),
    [
        ([64, 64], 2, 2),
        ([64, 64], 16, 4),  # 16 images each
        ([512], 16, 16),
        ([64, 48], 4, 2),  # 3 does not divide 64
        ([64, 35], 2, 1),
        ([2], 2, 1),
        ([0], 2, 1),  # an error that is told later
        ([64], 1, 1),
    ],
)
def test_devices_divide_every_batch_into_shares_worth_having(batch_sizes, cores, expected):
    assert cpu.devices(batch_sizes, cores) == expected


def python(program, **env):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=os.environ | env,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core"
)
def test_cores_become_devices_unless_the_environment_says_how_many():
    program = (
        "from rmdnet_jax.machine import cpu; cpu.use_cores([64, 64]);"
        "import jax; print(jax.device_count())"
    )
    assert int(*python(program)) >= 2
    assert python(program, JAX_NUM_CPU_DEVICES="1") == ["1"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_the_command_starts_again_once_with_its_arguments_and_its_number():
    program = (
        "import os, sys; print(os.getpid(), *sys.argv[1:]);"
        "from rmdnet_jax.machine import cpu; sys.stdout.flush(); cpu.use_large_pages();"
        "print(os.environ['GLIBC_TUNABLES'])"
    )
    env = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", program, "a b", "--c"],
        capture_output=True, text=True, check=True, env=env,
    )  # fmt: skip
    first, second, tunable = done.stdout.splitlines()
    assert first == second
    assert first.endswith(" a b --c")
    assert tunable == "glibc.malloc.hugetlb=1"


def test_the_barrier_stays_until_operations_are_fused():
    def twice(x):
        return jnp.sin(jax.lax.optimization_barrier(jnp.sin(x)))

    def fusions(options):
        compiled = jax.jit(twice).lower(jnp.ones((64, 64))).compile(compiler_options=options)
        return compiled.as_text().count("opt-barrier")

    assert fusions(cpu.COMPILER_OPTIONS) == 1
    assert fusions({}) == 0


def test_what_runs_once_has_the_same_numbers():
    def draw(key):
        return jax.random.normal(key, (7,)) / 3

    key = jax.random.key(0)
    assert (cpu.jit_once(draw)(key) == jax.jit(draw)(key)).all()
    assert jax.eval_shape(cpu.jit_once(draw), key).shape == (7,)
