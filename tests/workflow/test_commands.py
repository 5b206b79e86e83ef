"""Commands on the pages are ones that there are: verbs, options, targets, rules, files. Tutorials are run besides."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from checkout import REPOSITORY
from snakemake.cli import get_argument_parser

from lartpc.cli import app

PAGES = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]
PAGES += [REPOSITORY / f"{name}/README.md" for name in ("config", "envs", "models", "profiles")]
PROGRAMS = ("lartpc", "snakemake", "make", "python")
GROUP = typer.main.get_command(app)
PREFIX = r"\w+=|mpiexec|srun|-n|\d+|--\w+|time|nice|for|do|if"
SHELL = re.compile(r"[|;&<>]+")
GIVEN = ("my.yaml", "mine.yaml", "small.yaml", "DIR/asked/config.yaml")
"""Configurations that a reader writes, or that are written for them."""
RULES = {
    name
    for path in [REPOSITORY / "workflow/Snakefile", *REPOSITORY.glob("workflow/rules/*.smk")]
    for name in re.findall(r"^ *(?:rule|use rule \w+ as) (\w+)\b", path.read_text(), re.M)
}
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))


def words_of(text: str) -> list[str] | None:
    """Split a line as a shell does; None where a quotation goes on in the next line."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return None


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the commands of a page, in fenced blocks and in lines, as words that begin with the program."""
    text = page.read_text()
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    for language, code in [*fences, *(("", span) for span in spans)]:
        if language not in ("", "bash"):
            continue
        text = ""
        for line in code.replace("\\\n", " ").splitlines():
            text = f"{text}\n{line}" if text else line
            if (words := words_of(text)) is None:
                continue
            text = ""
            while words:
                end = next((place for place, word in enumerate(words) if SHELL.fullmatch(word)), len(words))
                command, words = words[:end], words[end + 1 :]
                start = next((place for place, word in enumerate(command) if word in PROGRAMS), None)
                if start is not None and all(re.match(PREFIX, word) for word in command[:start]):
                    yield command[start:]


def check_lartpc(words: list[str]) -> None:
    command, context = GROUP, GROUP.context_class(GROUP, info_name="lartpc")
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None and command.invoke_without_command:
            break
        assert found is not None, f"no verb {words[0]}"
        command, words = found, words[1:]
        context = command.context_class(command, parent=context, info_name=command.name)
    command.make_parser(context).parse_args([word for word in words if word != "..."])


def check_snakemake(words: list[str]) -> None:
    given = get_argument_parser().parse_args(words)
    for file in given.configfile or []:
        assert str(file) in GIVEN or (REPOSITORY / file).is_file(), f"no file {file}"
    for name in given.profile or []:
        assert (REPOSITORY / name).is_dir(), f"no profile {name}"
    for target in given.targets:
        assert target in (*RULES, "RULE") or target.startswith("results/"), f"no rule {target}"


def check_make(words: list[str]) -> None:
    targets = [word for word in words if "=" not in word and not word.startswith("-")]
    assert set(targets) <= TARGETS, targets


def check_python(words: list[str]) -> None:
    script, *rest = words or [""]
    if script == "-c":
        compile(rest[0], "command", "exec")
    elif script.startswith("benchmarks/"):
        code = (REPOSITORY / script).read_text()
        assert [
            word for word in rest if word.startswith("--") and word[2:].replace("-", "_") not in code
        ] == []


ALL = [(str(page.relative_to(REPOSITORY)), words) for page in PAGES for words in commands(page)]
CHECKS = {"lartpc": check_lartpc, "snakemake": check_snakemake, "make": check_make, "python": check_python}


@pytest.mark.parametrize(
    ("page", "words"), ALL, ids=[f"{page}: {' '.join(words)[:60]}" for page, words in ALL]
)
def test_commands_are_there(page: str, words: list[str]) -> None:
    program, *rest = words
    CHECKS[program](rest)


def test_many_commands_are_found() -> None:
    assert len(ALL) > 80
    with pytest.raises(Exception, match="--jsn"):
        check_lartpc(["show", "results", "--jsn"])
    with pytest.raises(AssertionError, match="no rule"):
        check_snakemake(["interactions_quality"])


def test_commands_are_run_by_a_test_or_say_why_not() -> None:
    """Those of README and of the first how-to pages are typed, and tutorials followed, by tests of their own."""
    by_tests = {"audit", "deployment", "events", "production", "scenarios", "view", "workflow"}
    bare = []
    for page in REPOSITORY.glob("docs/**/*.md"):
        if page.parent.name == "tutorials" or (page.parent.name == "how-to" and page.stem in by_tests):
            continue
        for found in re.finditer(r"^([^\n]*)\n```([^\n]*)\n(.*?)^```$", page.read_text(), re.M | re.S):
            above, language, code = found.groups()
            is_shell = language in ("", "bash") and re.search(
                rf"^ *(\w+=\S+ )*({'|'.join(PROGRAMS)}) ", code, re.M
            )
            if is_shell and not above.startswith("<!-- not run here: "):
                bare.append((page.name, code))
    assert bare == []
