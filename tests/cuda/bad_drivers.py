"""What `qwill` says and does where the driver or the card fails it: with --device cuda one line and status 1, with
--device auto the answer of the CPU and a line that says why.

    python tests/cuda/bad_drivers.py build/release/qwill build/release/tests/fake_driver

The second argument is the folder of a libcuda.so.1 that stands in for the driver's (driver/fake_driver.cpp). On a machine
with a card it also stands between `qwill` and the real one, and another process fills the card.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))
from serving import COMPLETIONS, Program, Server, run_all  # noqa: E402, I001
from program import one_line  # noqa: E402

RUN = ("generate", "-p", "A hammer is", "--max-tokens", "4", "--threads", "1")
ON_CPU = b"qwill: the CPU is used: "


class World:
    def __init__(self, program, fake):
        self.qwill = Program(program)
        self.fake = str(Path(fake).resolve())
        self.on_cpu = self.qwill(*RUN, "--device", "cpu").out
        self.real = None
        if self.qwill("generate", "--token-ids", "1", "--max-tokens", "1", "--device", "cuda").status == 0:
            self.real = real_driver()

    def run(self, *arguments, **settings):
        return self.qwill(*RUN, *arguments, environment=self.environment(**settings))

    def environment(self, **settings):
        settings = {f"FAKE_DRIVER_{name.upper()}": str(value) for name, value in settings.items()}
        return settings | {"LD_LIBRARY_PATH": self.fake}


def real_driver():
    """The path from which this process loads the driver's library."""
    ctypes.CDLL("libcuda.so.1")
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libcuda.so" in line:
            return line.split()[-1]
    raise AssertionError("the library is mapped")


def expect_refusal(checks, world, words, **settings):
    """One line with these words where the card was asked for; else the CPU's answer, and the same words."""
    refused = world.run("--device", "cuda", **settings)
    checks.that(refused.status == 1 and refused.out == b"" and one_line(refused.err), refused)
    checks.that(all(word in refused.err for word in (*words, b"--device cpu")), refused)
    went_on = world.run("--device", "auto", **settings)
    checks.that(went_on.status == 0 and went_on.out == world.on_cpu, went_on)
    checks.that(one_line(went_on.err) and went_on.err.startswith(ON_CPU), went_on)
    checks.that(all(word in went_on.err for word in words), went_on)


def test_old_drivers(checks, world):
    for version, name in ((12040, b"12.4"), (11080, b"11.8"), (10020, b"10.2")):
        expect_refusal(checks, world, (name, b"update the driver"), version=version)


def test_drivers_that_do_not_start(checks, world):
    for code, words in (
        (100, (b"no CUDA card was found", b"CUDA_VISIBLE_DEVICES")),
        (803, (b"restart the machine",)),
        (802, (b"does not start", b"nvidia-smi")),  # NVSwitch machines before their fabric manager runs
        (804, (b"does not start", b"nvidia-smi")),
        (304, (b"does not start", b"nvidia-smi")),  # no device files
        (999, (b"does not start", b"nvidia-smi")),
    ):
        expect_refusal(checks, world, words, init=code)


def test_without_a_driver_nobody_is_bothered(checks, world):
    """A library that is no driver stands for none."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "libcuda.so.1").write_bytes(b"no library")
        environment = {"LD_LIBRARY_PATH": folder}
        if world.real:  # the search goes on to the real one
            return
        done = world.qwill(*RUN, "--device", "auto", environment=environment)
        checks.that(done.status == 0 and done.out == world.on_cpu and done.err == b"", done)


def test_a_card_that_others_have(checks, world):
    if not world.real:
        return
    expect_refusal(checks, world, (b"cuda:0 is busy", b"nvidia-smi"), real=world.real, context=46)
    expect_refusal(checks, world, (b"cuda:0 is full", b"nvidia-smi"), real=world.real, context=2)
    # A plan for so much memory needs no more of it than what it is.
    plan = ("plan", "random:0.6b", "--device", "cuda", "--memory", "40GB")
    done = world.qwill(*plan, environment=world.environment(real=world.real, context=46))
    checks.that(done.status == 0 and b"cuda:0 (" in done.out and b"assumed" not in done.out, done)


FILL = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, address, free, total = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_size_t()
assert cuda.cuInit(0) == 0 and cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
size = free.value - int(sys.argv[1])
while size > 1 << 20:  # what is free comes in pieces
    if cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)) != 0:
        size //= 2
    elif int(sys.argv[1]) > 0:
        break
print("filled", flush=True)
sys.stdin.read()
"""


def test_a_card_that_is_full(checks, world):
    if not world.real:
        return
    for left in (1_200_000_000, 700_000_000, 0):
        command = [sys.executable, "-c", FILL, str(left)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            checks.equal(holder.stdout.readline(), b"filled\n")
            done = world.qwill(*RUN, "--device", "cuda", "--max-seq-len", "1000000")
            print(f"{left / 1e9:.1f} GB left: {done.err.decode().strip()}")
            checks.that(done.status == 1 and one_line(done.err), done)
            checks.that(any(word in done.err for word in (b"would fit", b"smaller model", b"is full")), done)
            holder.stdin.close()


def test_an_error_in_the_middle_of_a_step(checks, world):
    """Requests of that moment fail and say so, the process stays up, and tells that it must be started again."""
    if not world.real:
        return
    with tempfile.TemporaryDirectory() as folder:
        trigger = Path(folder) / "now"
        environment = world.environment(real=world.real, launch=f"719:{trigger}")
        with Server(world.qwill, "--device", "cuda", environment=environment) as server:
            checks.equal(server.post(COMPLETIONS, prompt="A hammer is", max_tokens=4).status, 200)
            checks.equal(server.get("/health").status, 200)
            trigger.touch()
            failed = server.post(COMPLETIONS, prompt="A hammer is", max_tokens=4)
            print(failed.status, failed.body.decode())
            checks.equal(failed.status, 500)
            health = server.get("/health")
            print(health.status, health.body.decode())
            checks.equal(health.status, 503)
            trigger.unlink()
            later = server.post(COMPLETIONS, prompt="A hammer is", max_tokens=4)
            print(later.status, later.body.decode())
            checks.that(later.status in (500, 503), later)
            checks.that(server.process.poll() is None, "the process stays up")


def main():
    program, fake = sys.argv[1:3]
    os.environ.pop("LD_LIBRARY_PATH", None)
    world = World(program, fake)
    print("with a card" if world.real else "without a card")
    return run_all([test for name, test in globals().items() if name.startswith("test_")], world)


if __name__ == "__main__":
    sys.exit(main())
