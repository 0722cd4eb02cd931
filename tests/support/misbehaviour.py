"""Parts that misbehave, each in a way of its own, and the study in which honest methods stand beside them.

An act is a statement in a method of a part. Its run fails with what is said here, or, where nothing is said, may end
as it likes: what it did must not reach any other run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from support.tiny_study import TEXT


class Act(NamedTuple):
    place: str  # key of PLACES
    code: str
    said: str | None = None  # by the failed run; None if it may as well end
    cause: str = "method"


HEAD = """
import atexit, builtins, ctypes, functools, gc, json, locale, math, os, pickle, random, re, resource, shutil, signal
import subprocess, sys, threading, time, warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from hfbench import registry, runs
import hfbench.runs.run
from hfbench.parts import BatchPlan, part
from hfbench.schedulers.fixed import Fixed, FixedSchedule
from hfbench.solvers.cg import CG
from hfbench.solvers.optimizers.adam import Adam
from hfbench.solvers.preconditioners.martens import Martens
from hfbench.solvers.stopping import RelativeProgress
from hfbench.tasks.curves import CurvesSmall


class Unsaid(Exception):
    def __str__(self):
        raise RuntimeError
    __repr__ = __str__


class Unpickled(Exception):
    def __reduce__(self):
        raise RuntimeError("no")


class Classless(Exception):
    @property
    def __class__(self):
        raise RuntimeError


class Liar(float):
    def __bool__(self, *of):
        raise RuntimeError("no truth")
    __float__ = __lt__ = __gt__ = __eq__ = __bool__
    __hash__ = None


class Parted(Exception):
    def __init__(self, a, b):
        super().__init__(a)


def recurse():
    return recurse()


def raise_circle():
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    raise a


def others():
    "Folders of the runs that others have recorded."
    return [file.parent for file in Path(os.environ["RESULTS_OF_TEST"]).glob("runs/*/result.json")]
"""

# The class of each place, with the act in it.
PLACES: dict[str, str] = {
    "solver": """
class {name}(CG):
    def iterates(self, system, x0, preconditioner):
        {code}
        yield from CG.iterates(self, system, x0, preconditioner)
""",
    "state": """
class {name}(CG):
    def iterates(self, system, x0, preconditioner):
        for state in CG.iterates(self, system, x0, preconditioner):
            {code}
            yield state
""",
    "constructor": """
class {name}(CG):
    def __post_init__(self):
        {code}
""",
    "destructor": """
class {name}(CG):
    def iterates(self, system, x0, preconditioner):
        kept = {name}_ended()
        yield from CG.iterates(self, system, x0, preconditioner)

class {name}_ended:
    def __del__(self):
        {code}
""",
    "class": """
class {name}(CG):
    {code}
""",
    "preconditioner": """
class {name}(Martens):
    def build(self, linearisation, shift, generator):
        built = Martens.build(self, linearisation, shift, generator)
        {code}
        return built
""",
    "scheduler": """
class {name}(Fixed):
    def begin(self, total):
        plan = Fixed.begin(self, total).plan
        class Odd(FixedSchedule):
            def next(self, evidence):
                {code}
                return self.plan
        return Odd(plan)
""",
    "rule": """
class {name}(RelativeProgress):
    def begin(self):
        honest = RelativeProgress.begin(self)
        def test(state):
            {code}
            return honest(state)
        return test
""",
    "optimizer": """
class {name}(Adam):
    def begin(self, model, loss, mu_D):
        made = Adam.begin(self, model, loss, mu_D)
        honest = made.step
        def step(inputs, targets, curvature=None, evidence=()):
            row = honest(inputs, targets, curvature, evidence).to_row()
            class Record:
                def to_row(self):
                    return row
            {code}
            return Record()
        made.step = step
        return made
""",
    "load": """
class {name}(CurvesSmall):
    def load(self, generator, data=None):
        loaded = CurvesSmall.load(self, generator, data)
        {code}
        return loaded
""",
    "model": """
class {name}(CurvesSmall):
    def model(self, generator):
        model = CurvesSmall.model(self, generator)
        {code}
        return model
""",
    "error": """
class {name}(CurvesSmall):
    def error(self, outputs, targets):
        error = CurvesSmall.error(self, outputs, targets)
        {code}
        return error
""",
}
FAMILIES = {
    **dict.fromkeys(("solver", "state", "constructor", "destructor", "class"), "solver"),
    **dict.fromkeys(("load", "model", "error"), "task"),
}

ACTS: dict[str, Act] = {
    # Exceptions of every kind.
    "exits": Act("solver", "raise SystemExit(0)", "SystemExit: 0"),
    "leaves": Act("solver", "raise GeneratorExit", "GeneratorExit"),
    "interrupts": Act("solver", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    "own_base": Act("solver", "raise type('Odd', (BaseException,), {})('so')", "Odd: so"),
    "unsaid": Act("solver", "raise Unsaid", "Unsaid: its message raises RuntimeError"),
    "undecodable": Act("solver", r"raise ValueError('a\udcff')", r"ValueError: a\udcff"),
    "shallow": Act("solver", "sys.setrecursionlimit(80); raise ValueError('deep')", "ValueError: deep"),
    "unpickled": Act("solver", "raise Unpickled('x')", "Unpickled: x"),
    "parted": Act("solver", "raise Parted('x', lambda: 0)", "Parted: x"),
    "classless": Act("solver", "raise Classless('x')", "RuntimeError"),
    "circular": Act("solver", "raise_circle()", "ValueError: a"),
    "long": Act("solver", "raise ValueError('x' * 10**7)", "ValueError: xxx"),
    "named_oddly": Act("solver", r"raise type('\x1b[2J', (Exception,), {})('x')", ": x"),
    "grouped": Act("solver", "raise BaseExceptionGroup('all', [SystemExit(0)])", "BaseExceptionGroup: all"),
    "recurses": Act("solver", "recurse()", "RecursionError"),
    "stops_iterating": Act("solver", "next(iter(()))", "StopIteration"),
    "no_memory": Act("solver", "raise MemoryError", "MemoryError", "machine"),
    "allocates": Act("solver", "torch.empty(10**14)", "can't allocate memory", "machine"),
    # Ends of a process.
    "dies": Act("solver", "os._exit(0)", "ended before the run: it exited with status 0"),
    "crashes": Act(
        "solver", "signal.raise_signal(signal.SIGSEGV)", "ended before the run: it was ended by signal 11 (SIGSEGV)"
    ),
    "aborts": Act("solver", "os.abort()", "it was ended by signal 6 (SIGABRT)"),
    "kills_itself": Act("solver", "os.kill(os.getpid(), signal.SIGKILL)", "was killed from outside, twice", "machine"),
    "reads_null": Act("solver", "ctypes.string_at(0)", "it was ended by signal 11 (SIGSEGV)"),
    "alarmed": Act("solver", "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(5)", "signal 14 (SIGALRM)"),
    "crashes_in_destructor": Act("destructor", "os.abort()", "it was ended by signal 6 (SIGABRT)"),
    "raises_in_destructor": Act("destructor", "raise SystemExit(0)"),
    "at_exit": Act("solver", "atexit.register(os.abort)"),
    "forks": Act("solver", "os.fork()"),
    "forks_in_evaluation": Act("error", "os.fork()"),
    "closes_files": Act("solver", "os.closerange(0, 1000)", "ended before the run"),
    # State of the process.
    "double": Act("solver", "torch.set_default_dtype(torch.float64)", "changed torch's default dtype from"),
    "elsewhere": Act("solver", "os.chdir('/')", "changed the working folder from"),
    "no_gradients": Act("solver", "torch.set_grad_enabled(False)", "changed torch's gradient mode from True"),
    "device": Act("state", "torch.set_default_device('meta')", "changed torch's default device from"),
    "autocast": Act("optimizer", "torch.autocast('cpu').__enter__()", "use no autocast"),
    "deterministic": Act("rule", "torch.use_deterministic_algorithms(True)", "changed torch's deterministic"),
    "precise": Act("rule", "torch.set_float32_matmul_precision('medium')", "changed torch's precision of matrix"),
    "threads": Act("preconditioner", "torch.set_num_threads(2)", "changed torch's number of threads from 1 to 2"),
    "hooked": Act(
        "scheduler", "torch.nn.modules.module.register_module_forward_hook(lambda *of: None)", "global forward hooks"
    ),
    "hooked_optimizers": Act(
        "optimizer",
        "sys.modules['torch.optim.optimizer'].register_optimizer_step_pre_hook(lambda *of: None)",
        "changed torch's global optimizer pre hooks",
    ),
    "patched_error": Act("solver", "runs.run.mean_error = lambda *of: 0.0", "changed hfbench.runs.run.mean_error"),
    "patched_torch": Act("solver", "torch.ger = None", "changed torch.ger"),
    "patched_tensor": Act("scheduler", "Tensor.item = lambda self: 0.0", "changed torch.Tensor.item"),
    "patched_clock": Act("solver", "time.perf_counter = lambda: 0.0", "changed time.perf_counter"),
    "patched_builtins": Act("rule", "builtins.max = min", "changed builtins.max"),
    "patched_math": Act("preconditioner", "math.comb = math.perm", "changed math.comb"),
    "hidden_builtin": Act("rule", "runs.run.max = min", "changed hfbench.runs.run.max"),
    "patched_pickle": Act("solver", "pickle.dumps = None"),
    "seeds": Act("solver", "torch.manual_seed(0); np.random.seed(0); random.seed(0)"),
    "no_garbage": Act("solver", "gc.disable(); gc.set_threshold(1)"),
    "warned": Act("solver", "warnings.simplefilter('error'); warnings.warn('x')", "UserWarning: x"),
    "environment": Act("solver", "os.environ.update(OMP_NUM_THREADS='7', MLFLOW_TRACKING_URI='x://y', TMPDIR='/no')"),
    "no_environment": Act("solver", "os.environ.clear()"),
    "local": Act("solver", "locale.setlocale(locale.LC_ALL, ('C', 'latin-1')) if 0 else locale.setlocale(0, 'C')"),
    "no_path": Act("solver", "sys.path.clear()"),
    "no_modules": Act("solver", "sys.modules.clear()"),
    "handlers": Act("solver", "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT)]"),
    "traced": Act("solver", "sys.settrace(lambda *of: None); sys.setprofile(lambda *of: None)"),
    "masked": Act("solver", "os.umask(0o777)"),
    "closed_output": Act("solver", "sys.stdout.close(); sys.stderr.close()"),
    "replaced_output": Act("solver", "sys.stdout = sys.stderr = None"),
    "floods": Act("solver", "[os.write(1, b'x' * 10**6) for _ in range(100)]"),
    "few_files": Act("solver", "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))", "", ""),
    "short_files": Act("solver", "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))", "", ""),
    "little_memory": Act("solver", "resource.setrlimit(resource.RLIMIT_AS, (2**20, 2**20))"),
    # Threads and processes that are left behind.
    "daemon": Act("solver", "threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()"),
    "thread": Act("solver", "threading.Thread(target=time.sleep, args=(600,)).start()"),
    "patching_thread": Act("solver", "threading.Timer(0.5, lambda: setattr(runs.run, 'mean_error', None)).start()"),
    "child": Act("solver", "subprocess.Popen(['sleep', '20'])"),
    # Work and weights.
    "resets": Act("solver", "system.linearisation.ledger.jvp_calls = 0", "a part cannot set 'jvp_calls' of the ledger"),
    "uncounted": Act("solver", "system.linearisation.ledger.count('jvp', -10**6)", "but got 'jvp' and -1000000"),
    "own_settings": Act("solver", "object.__setattr__(self, 'use', 'other')"),
    "changed_gradient": Act("solver", "[block.zero_() for block in system.gradient]"),
    "changed_data": Act("optimizer", "inputs.zero_(); targets.zero_()"),
    # Answers of the wrong kind.
    "no_state": Act("state", "state = None", "reads q"),
    "text_state": Act("state", "state = 'x'", "reads q"),
    "not_finite": Act("state", "state = replace(state, x=state.x * math.nan)"),
    "infinite": Act("state", "state = replace(state, q=-math.inf)"),
    "huge": Act("state", "state = replace(state, x=state.x * 1e38)"),
    "negative": Act("state", "state = replace(state, k=-1)"),
    "liar": Act("state", "state = replace(state, q=Liar(-1.0))"),
    "misshapen": Act("state", "state = replace(state, x=type(state.x)(block[:0] for block in state.x))"),
    "endless": Act("state", "yield from iter(lambda: state, None)"),
    "stateless": Act("solver", "return"),
    "unbuilt": Act("preconditioner", "built = None"),
    "zero_built": Act("preconditioner", "built.solve = built.solve_factor = lambda v: v * 0"),
    "nothing_planned": Act("scheduler", "self.plan = None"),
    "negative_plan": Act("scheduler", "self.plan = BatchPlan(-1, -5, 'random', '')"),
    "liars_plan": Act("scheduler", "self.plan = BatchPlan(Liar(1), 'x', 7, object())"),
    "unplain_schedule": Act("scheduler", "self.state_dict = lambda: {'x': lambda: 0}"),
    "text_rule": Act("rule", "return 'stop'"),
    "liars_rule": Act("rule", "return Liar(1.0)"),
    "text_row": Act("optimizer", "row['gradient_norm'] = 'x'"),
    "digits_row": Act("optimizer", "row['objective_after'] = 10**400"),
    "liars_row": Act("optimizer", "row['gradient_norm'] = Liar(1.0)"),
    "lambda_row": Act("optimizer", "row['objective_after'] = lambda: 0"),
    "no_row": Act("optimizer", "return None", "AttributeError"),
    # Tasks, which cost all runs on them.
    "no_data": Act("load", "loaded = None"),
    "no_model": Act("model", "model = None"),
    "dies_in_model": Act("model", "os._exit(3)", "it exited with status 3"),
    "text_error": Act("error", "error = 'x'"),
    "misshapen_error": Act("error", "error = error[:0]"),
    "changed_outputs": Act("error", "outputs.zero_(); targets.zero_()"),
    "exits_in_error": Act("error", "sys.exit(0)", "SystemExit: 0"),
    # Classes that are no honest classes.
    "repr_raises": Act("class", "def __repr__(self): raise SystemExit(0)"),
    "attributes_raise": Act(
        "class",
        "def __getattribute__(self, name):\n        if name == 'iterates': raise SystemExit(0)\n"
        "        return object.__getattribute__(self, name)",
        "SystemExit: 0",
    ),
    "eq_raises": Act("class", "__eq__ = __hash__ = __bool__ = __len__ = lambda *of: sys.exit(0)"),
    "reduce_raises": Act("class", "__reduce_ex__ = __reduce__ = lambda *of: sys.exit(0)"),
    "documented": Act("class", f"__doc__ = 'x ' * {500_000}"),
}

# What is raised where the command itself looks at a part: the study is refused, and says so.
REFUSED: dict[str, Act] = {
    "exits_in_constructor": Act("constructor", "raise SystemExit(0)", "SystemExit: 0"),
    "fails_in_constructor": Act("constructor", "raise ValueError('no')", "ValueError: no"),
    "unpickled_in_constructor": Act("constructor", "raise Unpickled('x')", "Unpickled: x"),
    "nan_error": Act("error", "error = error * math.nan", "must give finite outputs"),
    "getattr_raises": Act("class", "def __getattr__(self, name): raise SystemExit(0)", "raises SystemExit: 0"),
}

# What does not return, where the budget has seconds.
HANGS: dict[str, Act] = {
    "loops": Act("solver", "[None for _ in iter(int, 1)]", "a step did not return"),
    "sleeps": Act("rule", "time.sleep(600)", "a step did not return"),
    "locked": Act("preconditioner", "lock = threading.Lock(); lock.acquire(); lock.acquire()", "a step did not return"),
    "in_c": Act("scheduler", "re.match('(a+)+$', 'a' * 99 + 'b')", "a step did not return"),
    "stopped": Act("optimizer", "os.kill(os.getpid(), signal.SIGSTOP)", "a step did not return"),
    "deaf": Act(
        "solver",
        "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 14, 15)]; time.sleep(600)",
        "a step did not",
    ),
    "in_evaluation": Act("error", "time.sleep(600)", "a step did not return"),
    "in_model": Act("model", "time.sleep(600)", "a step did not return"),
}

# By name: what stands at the top of a plugin's file, the status of `hfbench list`, and what is said.
IMPORTS: dict[str, tuple[str, int, str]] = {
    "fails": ("1 / 0", 0, "ZeroDivisionError"),
    "exits": ("sys.exit(0)", 0, "SystemExit: 0"),
    "leaves": ("raise GeneratorExit", 2, "code of a plugin must not end the command, but raises GeneratorExit"),
    "own_base": ("raise type('Odd', (BaseException,), {})('so')", 2, "raises Odd: so"),
    "unsaid": ("raise Unsaid", 0, "Unsaid"),
    "classless": ("raise Classless", 2, "raises RuntimeError"),
    "recurses": ("recurse()", 0, "RecursionError"),
    "syntax": ("def", 0, "SyntaxError"),
    "double": ("torch.set_default_dtype(torch.float64)", 2, "changed torch's default dtype"),
    "patched": ("torch.ger = None", 2, "changed torch.ger"),
    "elsewhere": ("os.chdir('/')", 2, "changed the working folder"),
    "hooked": ("torch.nn.modules.module.register_module_forward_hook(lambda *of: None)", 2, "global forward hooks"),
    "named_oddly": ("registry.add('solver', 'a b\x1b[2J', CG)", 0, "a name must be 1 to"),
    "taken": ("registry.add('solver', 'cg', Fixed)", 0, "lacks"),
    "odd_default": ("part(type('P', (CG,), {'__annotations__': {'a': int}, 'a': 1.5}))()", 0, "must be"),
    "nothing": ("", 0, "it adds no part"),
}

METHODS = {
    "solver": 'solver = "{name}"\npreconditioner = "martens"\nscheduler = "fixed"',
    "preconditioner": 'solver = "cg"\npreconditioner = "{name}"\nscheduler = "fixed"',
    "scheduler": 'solver = "cg"\npreconditioner = "martens"\nscheduler = "{name}"',
    "rule": 'solver = "cg"\npreconditioner = "martens"\nscheduler = "fixed"\nrules = ["{name}"]',
    "optimizer": 'optimizer = "{name}"\nscheduler = "fixed"',
}


def family_of(act: Act) -> str:
    return FAMILIES.get(act.place, act.place)


def plugin(acts: Mapping[str, Act]) -> str:
    """The source of a file with a part for each act, registered under its name."""
    return HEAD + "".join(
        f"\n@part{PLACES[act.place].format(name=name, code=act.code)}\n"
        f'registry.add("{family_of(act)}", "{name}", {name})\n'
        for name, act in acts.items()
    )


def study(acts: Mapping[str, Act], budget: str = "iterations = 6") -> str:
    """The tiny study with one seed, its first method made before those of the acts, and its second after them."""
    text = TEXT.replace("seeds = 2", "seeds = 1").replace("iterations = 6", budget)
    first, second = text.split("[methods.shf]")
    tasks = [name for name, act in acts.items() if family_of(act) == "task"]
    names = ", ".join(f'"{name}"' for name in ("tiny-curves", *tasks))
    first = first.replace('tasks = ["tiny-curves"]', f"tasks = [{names}]")
    first = first.replace("tiny-curves = 60.0", ", ".join(f"{name} = 60.0" for name in ("tiny-curves", *tasks)))
    tables = [_task(name) for name in tasks]
    methods = [name for name in acts if name not in tasks]
    honest = ", ".join(f'"{name}"' for name in ("hf", "shf", *methods))
    tables += [f"[methods.{name}]\n{METHODS[family_of(acts[name])].format(name=name)}\n" for name in methods]
    tables += [f"[on.tiny-curves]\nmethods = [{honest}]\n"] if tasks else []
    return "\n".join([first, *tables, f"[methods.shf]{second}"])


def _task(name: str) -> str:
    settings = "layers = [12, 4]\ncases = 200\nvalidation = 50"
    return f'[tasks.{name}]\nuse = "{name}"\n{settings}\n\n[on.{name}]\nmethods = ["hf"]\n'
