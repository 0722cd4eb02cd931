"""Statements that a class depends on, found in the source of its modules without running them.

A statement is reached by name, if it binds a name that a reached statement uses, also through imports between the
modules; it begins with the class. And it is reached by its effects, if it runs when its module is imported and may
change what others do: a call, an assignment to an attribute, a decorator of an unknown kind, a condition, a loop.

All that is uncertain counts as reached: the whole of a module that is imported by a star, handed on as a value, or
asked for a name that it does not bind.
"""

from __future__ import annotations

import ast
import importlib.util
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache

Chain = tuple[str, ...]  # `helper.FACTOR` as ("helper", "FACTOR")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
PLAIN = (*DEFINITIONS, ast.Assign, ast.AnnAssign, ast.Expr, ast.Pass)  # statements that may be without effect

# What only makes a value, by absolute name. So does registration: the key has the part's name.
WITHOUT_EFFECT = {
    *("hfbench", "abc", "collections", "contextlib", "dataclasses", "enum", "functools", "itertools", "math"),
    *("operator", "re", "typing", "typing_extensions"),
    *("torch.no_grad", "torch.enable_grad", "torch.inference_mode"),
    *("builtins.bool", "builtins.classmethod", "builtins.dict", "builtins.float", "builtins.frozenset"),
    *("builtins.int", "builtins.len", "builtins.list", "builtins.max", "builtins.min", "builtins.print"),
    *("builtins.property", "builtins.range", "builtins.set", "builtins.sorted", "builtins.staticmethod"),
    *("builtins.str", "builtins.sum", "builtins.tuple"),
}
# A module with one of these may reach its own names, classes or text in ways that its source does not show.
BUILTINS_OF_ITSELF = {"globals", "eval", "exec", "__import__"}
OF_ITSELF = {
    *("builtins", "__builtins__", "importlib", "import_module", "runpy", "sys.modules"),
    *("__subclasses__", "__init_subclass__", "metaclass", "__globals__", "f_globals", "f_locals"),
    *("_getframe", "currentframe", "getmodule", "getsource", "getdoc", "__doc__"),
}


class ParsedModule:
    """A module's statements: those that run when it is imported, then the imports inside of them; a name an import.

    Raises SyntaxError or ValueError, of which ConfigError is one, if the file is not Python.
    """

    def __init__(self, name: str, file: str, source: bytes) -> None:
        self.name, self.tree = name, ast.parse(source)
        self.package = name if file == "__init__.py" else name.rpartition(".")[0]
        live = [statement for statement in self.tree.body if not self._never_runs(statement)]
        inside = [node for statement in live for node in ast.walk(statement) if isinstance(node, IMPORTS)]
        nested = [statement for statement in inside if statement not in live]
        self.statements = [single for statement in (*live, *nested) for single in _name_by_name(statement)]
        self.bindings: dict[str, list[int]] = defaultdict(list)
        for index, statement in enumerate(self.statements):
            for name in _bound(statement):
                self.bindings[name].append(index)

    def _never_runs(self, statement: ast.stmt) -> bool:
        """True for `if TYPE_CHECKING:`, and for `if __name__ == "__main__":` in a module that is imported."""
        if not isinstance(statement, ast.If) or statement.orelse:
            return False
        if dotted(statement.test)[-1:] == ("TYPE_CHECKING",):
            return True
        return self.name != "__main__" and ast.unparse(statement.test) == "__name__ == '__main__'"

    @cached_property
    def chains(self) -> list[set[Chain]]:
        """The names that each statement uses, with their attributes."""
        return [set(_chains(statement)) for statement in self.statements]

    @cached_property
    def used(self) -> set[str]:
        return {chain[0] for chains in self.chains for chain in chains}

    @cached_property
    def looks_at_itself(self) -> bool:
        return any(word in OF_ITSELF for node in ast.walk(self.tree) for word in _words(node))

    def texts(self) -> set[str]:
        """The strings in its source."""
        constants = [node.value for node in ast.walk(self.tree) if isinstance(node, ast.Constant)]
        return {value for value in constants if isinstance(value, str)}

    def imported(self) -> Iterator[str]:
        """The names of modules that it imports, with their packages; some are names of other things."""
        for statement in self.statements:
            if isinstance(statement, IMPORTS):
                names = statement.names[0].name.split(".")
                path = names if isinstance(statement, ast.Import) else [*self._base(statement).split("."), *names]
                yield from (".".join(path[:depth]) for depth in range(1, len(path) + 1))

    def meaning(self, statement: ast.Import | ast.ImportFrom) -> tuple[str, Chain]:
        """The module, and the name in it, that an import binds; no name for the module itself."""
        alias = statement.names[0]
        if isinstance(statement, ast.ImportFrom):
            return self._base(statement), () if alias.name == "*" else (alias.name,)
        return (alias.name if alias.asname else alias.name.partition(".")[0]), ()

    def _base(self, statement: ast.ImportFrom) -> str:
        written = "." * statement.level + (statement.module or "")
        with suppress(ImportError):  # relative, in a module without a package: it fails when it runs, or never runs
            return importlib.util.resolve_name(written, self.package)
        return written

    # ------------------------------------------------------------ effects

    @cached_property
    def effects(self) -> list[int]:
        """Indices of the statements that, when they run, may change more than the names that they bind."""
        return [index for index, statement in enumerate(self.statements) if self._has_effects(statement)]

    def _has_effects(self, statement: ast.stmt) -> bool:
        if isinstance(statement, IMPORTS):  # of a name that is never used: for its effects, as from __future__
            module, names = self.meaning(statement)
            return not _bound(statement) & self.used and not _is_without_effect((*module.split("."), *names))
        return not isinstance(statement, PLAIN) or any(map(self._acts, _executed(statement)))

    def _acts(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            return not self._only_makes_a_value(node.func)
        if isinstance(node, DEFINITIONS):
            marks = [mark for mark in node.decorator_list if not isinstance(mark, ast.Call)]
            return not all(map(self._only_makes_a_value, marks))
        if isinstance(node, ast.Attribute | ast.Subscript):
            return not isinstance(node.ctx, ast.Load)
        return isinstance(node, ast.With | ast.Raise)

    def _only_makes_a_value(self, called: ast.expr) -> bool:
        return _is_without_effect(self._absolute(dotted(called)))

    def _absolute(self, chain: Chain) -> Chain:
        """The absolute name of what is imported or built in; none for what the module makes."""
        if not chain or chain[0] not in self.bindings:
            return ("builtins", *chain)
        statement = self.statements[self.bindings[chain[0]][-1]]
        if len(self.bindings[chain[0]]) > 1 or not isinstance(statement, IMPORTS):
            return ()
        module, names = self.meaning(statement)
        return (*module.split("."), *names, *chain[1:])


# Parts share modules. The source is among the arguments, since a file may change.
parsed_module = lru_cache(maxsize=128)(ParsedModule)


class Reach:
    """The statements reached in some modules, by module and index."""

    def __init__(self, modules: Mapping[str, ParsedModule]) -> None:
        self.modules = modules
        self.reached: dict[str, set[int]] = defaultdict(set)
        self._followed: set[tuple[str, Chain]] = set()
        for module in modules.values():
            for index in module.effects:
                if not self._only_runs_a_module(module, module.statements[index]):
                    self._take(module, index, ())

    def follow(self, name: str, chain: Chain) -> None:
        """Reaches what the chain means in the module `name`; all of the module, and of those below, if it is empty."""
        if (name, chain) in self._followed:
            return
        self._followed.add((name, chain))
        module = self.modules.get(name)
        if not chain:
            for whole in [whole for whole in self.modules if f"{whole}.".startswith(f"{name}.")]:
                self._take_all(self.modules[whole])
            return
        below, bound = f"{name}.{chain[0]}", [] if module is None else module.bindings.get(chain[0], [])
        for index in bound:
            self._take(self.modules[name], index, chain[1:])
        if module is None or below in self.modules:
            self.follow(below, chain[1:])
        elif not bound:
            self._take_all(module)

    def statements(self, name: str) -> list[ast.stmt]:
        """The reached statements of a module, in order."""
        return [self.modules[name].statements[index] for index in sorted(self.reached[name])]

    def _only_runs_a_module(self, module: ParsedModule, statement: ast.stmt) -> bool:
        """True for an import from the modules here, unless by a star: their own statements with effects are reached."""
        if not isinstance(statement, IMPORTS) or statement.names[0].name == "*":
            return False
        name, names = module.meaning(statement)
        return name in self.modules or ".".join((name, *names)) in self.modules

    def _take(self, module: ParsedModule, index: int, rest: Chain) -> None:
        """Reaches a statement and all that it uses; `rest` are the attributes that are asked of what it binds."""
        statement = module.statements[index]
        if isinstance(statement, IMPORTS):
            target, names = module.meaning(statement)
            self.follow(target, (*names, *rest))
        if index in self.reached[module.name]:
            return
        self.reached[module.name].add(index)
        for chain in module.chains[index]:
            if chain[0] in module.bindings:
                self.follow(module.name, chain)

    def _take_all(self, module: ParsedModule) -> None:
        for index in range(len(module.statements)):
            self._take(module, index, ())


# ---------------------------------------------------------------- what a statement binds, uses and runs


def _is_without_effect(names: Chain) -> bool:
    return any(".".join(names[:depth]) in WITHOUT_EFFECT for depth in range(1, len(names) + 1))


def dotted(node: ast.AST) -> Chain:
    """`a.b.c` as ("a", "b", "c"); () for any other expression."""
    if isinstance(node, ast.Name):
        return (node.id,)
    base = dotted(node.value) if isinstance(node, ast.Attribute) else ()
    return (*base, node.attr) if base and isinstance(node, ast.Attribute) else ()


def _chains(node: ast.AST) -> Iterator[Chain]:
    """The names in a node, each with the attributes that are asked of it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        chain = dotted(node)
        if chain:
            yield chain
        else:
            waiting += ast.iter_child_nodes(node)


def _name_by_name(statement: ast.stmt) -> list[ast.stmt]:
    """An import of several names as imports of one each, so that none is reached because of another."""
    if isinstance(statement, ast.Import):
        return [ast.Import([alias]) for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        return [ast.ImportFrom(statement.module, [alias], statement.level) for alias in statement.names]
    return [statement]


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds in its module."""
    if isinstance(statement, IMPORTS):
        alias = statement.names[0]
        name = alias.asname or (alias.name.partition(".")[0] if isinstance(statement, ast.Import) else alias.name)
        return {name} - {"*"}
    elsewhere = {name for node in ast.walk(statement) if isinstance(node, ast.Global) for name in node.names}
    if isinstance(statement, DEFINITIONS):
        return {statement.name, *elsewhere}
    here = [_bound_by(node) for node in _executed(statement)]
    return elsewhere.union(*here)


def _bound_by(node: ast.AST) -> set[str]:
    if isinstance(node, DEFINITIONS):
        return {node.name}
    return {node.id} if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) else set()


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """A node with all below it that runs when it does: of a function its decorators and defaults, not its body."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, FUNCTIONS):
            waiting += [*node.decorator_list, node.args, *([node.returns] if node.returns is not None else [])]
        elif isinstance(node, ast.Lambda):
            waiting.append(node.args)
        else:
            waiting += ast.iter_child_nodes(node)


def _words(node: ast.AST) -> Iterator[str]:
    """The words of a node that may be among those by which a module looks at itself."""
    if isinstance(node, ast.Name):
        yield "builtins" if node.id in BUILTINS_OF_ITSELF else node.id
    elif isinstance(node, ast.Attribute):
        yield from (node.attr, ".".join(dotted(node)))
    elif isinstance(node, FUNCTIONS):
        yield node.name
    elif isinstance(node, ast.keyword):
        yield node.arg or ""
    elif isinstance(node, IMPORTS):
        base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            yield from (*base.split("."), *alias.name.split("."), f"{base}{alias.name}")
