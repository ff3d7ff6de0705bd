"""The shape of the package, read from its own imports, and what a start costs."""

from __future__ import annotations

import ast
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import rqtool
from rqtool.cli.main import main
from rqtool.cli.verbs import VERBS

ROOT = Path(rqtool.__file__).parent
LONGEST = 300
MOST_AT_THE_ROOT = 8
MOST_ARGUMENTS = 6
LONGEST_FOLDER = 2_400
THREADS = {
    "rqtool.management.in_thread",
    "rqtool.output",
    "rqtool.send.input",
}

IMPURE = {"pika", "urllib3", "subprocess", "socket", "asyncio"}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}
FOLDERS = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.rglob("*/__init__.py"))
MAP = ROOT.parent / "docs" / "architecture.md"


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _at_start(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below but for those in functions and those that are there for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_type_checking(child):
            yield child
            yield from _at_start(child)


def _targets(node: ast.AST, module: str) -> Iterator[str]:
    """The names that an import statement may load: `from a import b` is a, and a.b where that is a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}: a relative import"
        yield str(node.module)
        yield from (name for alias in node.names if (name := f"{node.module}.{alias.name}") in FILES)


@cache
def _tree(module: str) -> ast.Module:
    """Read when a test asks: every process that runs tests imports this file."""
    return ast.parse(FILES[module].read_text())


@cache
def _imports(module: str, below: Callable[[ast.AST], Iterator[ast.AST]] = ast.walk) -> set[str]:
    """What the module imports, at its start (`below=_at_start`) or anywhere."""
    return {name for node in below(_tree(module)) for name in _targets(node, module)}


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _importers(package: str) -> set[str]:
    """Who imports the package or anything in it, wherever in the file."""
    return {module for module in FILES if any(_within(name, package) for name in _imports(module))}


def _loaded_by(module: str, below: Callable[[ast.AST], Iterator[ast.AST]] = _at_start) -> set[str]:
    """Everything that importing the module imports, through the whole package."""
    found: set[str] = set()
    left = [module]
    while left:
        names = _imports(left.pop(), below) - found
        found |= names
        left += [name for name in names if name in FILES]
    return found


def test_the_imports_are_read() -> None:
    """The tests below see what is there: imports at the start and inside functions, modules and names."""
    assert {"rqtool.cli.main", "rqtool.amqp.connection", "rqtool.management.api"} < FILES.keys()
    assert "rqtool.amqp.window" in _imports("rqtool.send.outbox", _at_start)
    assert "rqtool.cli.verbs" in _imports("rqtool.cli.main", _at_start)
    assert "rqtool.send.sender" in _imports("rqtool.cli.send") - _imports("rqtool.cli.send", _at_start)


def test_pika_is_imported_in_the_thin_layer_only() -> None:
    """One border for the client library: rqtool/amqp."""
    importers = _importers("pika")
    assert importers
    assert {module for module in importers if not _within(module, "rqtool.amqp")} == set()


PUBLIC_UNDERSCORES = {"_exit", "_typeshed"}
"""os._exit, and the types of the standard library."""


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC_UNDERSCORES


def _foreign_private_names(tree: ast.AST) -> set[str]:
    """Private names of other files: attributes of objects that this file does not define, imported names, and what a
    class may inherit from a class of pika.
    """
    nodes = list(ast.walk(tree))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and _private(node.attr)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"}
    used = {node.attr for node in attributes}
    used |= {
        part
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        for part in f"{getattr(node, 'module', '')}.{alias.name}".split(".")
        if _private(part)
    }
    return used - own


def test_private_names_of_pika_are_used_in_one_file() -> None:
    """A new pika can break rqtool/amqp/wire.py alone. No other file uses a private name that it does not define."""
    found = {module: names for module in FILES if (names := _foreign_private_names(_tree(module)))}
    assert found.keys() == {"rqtool.amqp.wire"}, found
    assert {"_transport", "_cancelled"} < found["rqtool.amqp.wire"]


def test_rich_is_imported_where_things_are_drawn() -> None:
    """Drawing has files of its own: a start without a terminal does not pay for rich."""
    assert {module.rsplit(".", 1)[1] for module in _importers("rich")} == {"table", "screen", "progress"}


FEATURES = ["send", "work", "queues", "messages"]


@pytest.mark.parametrize("feature", FEATURES)
def test_features_do_not_import_each_other(feature: str) -> None:
    """Only the command line knows them all; what two of them need belongs to amqp, management or run."""
    outside = {module for module in _importers(f"rqtool.{feature}") if not _within(module, f"rqtool.{feature}")}
    assert {module for module in outside if not _within(module, "rqtool.cli")} == set()


def test_amqp_and_management_never_meet() -> None:
    """AMQP knows nothing of HTTP, nor HTTP of AMQP."""
    assert {module for module in _importers("rqtool.management") if _within(module, "rqtool.amqp")} == set()
    assert {module for module in _importers("rqtool.amqp") if _within(module, "rqtool.management")} == set()
    assert _importers("urllib3") == {"rqtool.management.api"}


def test_amqp_and_management_know_no_feature() -> None:
    """Imports go one way: features use the connections, never the other way round."""
    upper = [f"rqtool.{name}" for name in (*FEATURES, "run", "cli")]
    lower = [module for module in FILES if _within(module, "rqtool.amqp") or _within(module, "rqtool.management")]
    assert {
        (module, name) for module in lower for name in _imports(module) if any(_within(name, p) for p in upper)
    } == set()


def test_only_the_command_line_knows_the_private_broker() -> None:
    """To a feature it is an endpoint like any other."""
    outside = {module for module in _importers("rqtool.private_broker") if not _within(module, "rqtool.private_broker")}
    assert {module for module in outside if not _within(module, "rqtool.cli")} == set()


def test_runners_know_nothing_of_the_broker() -> None:
    """What runs tasks imports neither AMQP nor the management API, not even through another module."""
    loaded = {
        name for module in FILES if _within(module, "rqtool.run") for name in _loaded_by(module) | _imports(module)
    }
    assert {name for name in loaded if _within(name, "rqtool.amqp") or _within(name, "rqtool.management")} == set()


def test_nothing_imports_the_command_line() -> None:
    """Imports go one way, from the command line down; `python -m rqtool` is the command line too."""
    outside = {module for module in _importers("rqtool.cli") if not _within(module, "rqtool.cli")}
    assert outside == {"rqtool.__main__"}


def _is_pure(module: str) -> bool:
    docstring = FILES[module].read_text().partition('"""')[2].partition('"""')[0]
    return re.search(r"\bPure\b", docstring) is not None


PURE = [module for module in FILES if _is_pure(module)]


def test_decisions_are_pure() -> None:
    """What the tests by tables and properties are about says so in its docstring."""
    assert {"rqtool.run.lane", "rqtool.send.outbox", "rqtool.work.job", "rqtool.queues.diagnosis"} <= set(PURE)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_nothing_that_acts(module: str) -> None:
    """Decisions need no network, no process and no event loop, not even through another module."""
    loaded = {name.split(".")[0] for name in _loaded_by(module) | _imports(module)}
    assert loaded & IMPURE == set()


def test_there_is_no_import_cycle() -> None:
    """No module needs itself, not even later, in a function, or for its types."""
    assert [module for module in FILES if module in _loaded_by(module, ast.walk)] == []


def test_the_root_of_the_package_stays_small() -> None:
    """A module that belongs to a capability goes into its folder."""
    assert len(list(ROOT.glob("*.py"))) <= MOST_AT_THE_ROOT


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_is_too_large(folder: str) -> None:
    """A folder that wants to be larger holds two capabilities."""
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / folder).glob("*.py")) <= LONGEST_FOLDER


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_is_on_the_map(folder: str) -> None:
    """docs/architecture.md names every folder, and where to start reading."""
    line = re.search(rf"^\| `{folder}/` .*`({folder}/\w+\.py)` \|$", MAP.read_text(), re.MULTILINE)
    assert line is not None, f"add a line about {folder}/ to {MAP.name}"
    assert (ROOT / line[1]).exists()


def test_files_on_the_map_exist() -> None:
    """What docs/architecture.md and CONTRIBUTING.md name is where they say."""
    texts = [MAP, MAP.parent.parent / "CONTRIBUTING.md"]
    named = {name for text in texts for name in re.findall(r"`(?:rqtool/)?((?:\w+/)*[a-z]\w*\.py)`", text.read_text())}
    gone = {name for name in named if not ((ROOT / name).exists() or (MAP.parent.parent / name).exists())}
    assert gone - {"table.py", "screen.py", "progress.py"} == set()


def test_no_constructor_takes_too_much() -> None:
    """Who needs more than six things does more than one."""
    nodes = [(module, node) for module in FILES for node in ast.walk(_tree(module))]
    counts = {
        module: len(node.args.args) + len(node.args.kwonlyargs) - 1
        for module, node in nodes
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    }
    assert {module for module, count in counts.items() if count > MOST_ARGUMENTS} == set()


def test_threads_are_few() -> None:
    """The event loop owns all state: a thread only reads input, writes output, or asks the API."""
    assert {module for module in FILES if "threading.Thread(" in FILES[module].read_text()} == THREADS


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_too_long(module: str) -> None:
    """A file that wants to be longer is two things."""
    assert len(FILES[module].read_text().splitlines()) <= LONGEST


PROGRAM = """
import sys
from rqtool.cli.main import main
code = main()
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


def _imported_by(*arguments: str, exit_code: int = 0) -> set[str]:
    """The modules that are there when a real run ends, of a user who has no private broker."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    env = os.environ | {"XDG_STATE_HOME": "/nonexistent"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert ended.returncode == exit_code
    return set(ended.stderr.splitlines()[-1].split())


def _verbs(modules: set[str]) -> set[str]:
    return {verb for verb in VERBS if f"rqtool.cli.{verb}" in modules}


DRAWING = {"rich", "markdown_it", "pygments"}
HTTP = {"urllib3", "http.client", "rqtool.management.api"}
AMQP = {"pika", "asyncio"}
NEEDLESS = {"email", "json", "logging", "multiprocessing", "random", "socket", "ssl", "tempfile"}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_a_start_imports_no_verb_that_is_not_called(option: str) -> None:
    """The list of the verbs comes without them, and without what any of them needs."""
    imported = _imported_by(option)
    assert "rqtool.cli.verbs" in imported
    assert _verbs(imported) == set()
    assert imported & (DRAWING | HTTP | AMQP | NEEDLESS) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_imports_that_verb_alone(verb: str) -> None:
    """Help comes at once: what a verb needs is imported when it runs."""
    imported = _imported_by(verb, "--help")
    assert _verbs(imported) == {verb}
    assert imported & (DRAWING | HTTP | AMQP | NEEDLESS - {"json"}) == set()


def test_to_send_imports_what_sends() -> None:
    """It is paid for every task that a script sends."""
    imported = _imported_by("send", "task", "--url", "amqp://127.0.0.1:1/", exit_code=69)
    assert imported >= AMQP
    assert _verbs(imported) == {"send"}
    assert imported & (DRAWING | HTTP | {"rqtool.work.retry", "rqtool.private_broker.cluster"}) == set()


def test_a_look_at_the_queues_imports_what_looks() -> None:
    """HTTP, and neither AMQP nor what draws: it may be called every few seconds."""
    addresses = ["--url", "amqp://127.0.0.1:1/", "--api-url", "http://127.0.0.1:1/"]
    imported = _imported_by("queues", *addresses, exit_code=69)
    assert imported >= HTTP
    assert _verbs(imported) == {"queues"}
    assert imported & (DRAWING | AMQP | {"rqtool.private_broker.cluster"}) == set()


def test_a_run_ends_without_looking_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its end Python would look through all that was imported; nothing is left there for it to look through."""
    monkeypatch.setattr(sys, "argv", ["rqtool", "--version"])
    gc.unfreeze()
    assert main() == 0
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
