"""The table, family by family: what programs do with their words, and with which words they are not known."""

from __future__ import annotations

import pytest

from september_engine._bash import actions_of
from september_engine._bash.call import Call, leaves
from september_engine._bash.doubt import NotUnderstood
from september_engine._bash.hosts import host_of
from september_engine._bash.options import parse
from september_engine._bash.scripts import is_plain_awk, is_plain_sed
from september_engine._bash.table import KNOWN, WHY_NOT
from september_engine._bash.values import Argument
from september_engine._bash.wrappers import is_harmless
from september_engine.permissions import Network, Read, Run, Unknown, Write

from .corpora import HOME, ROOT


def told(command: str) -> list[str]:
    """What is known of a command, shortly: `r` reads, `w` writes, `n` a host, `x` opaque code, `?` a doubt."""
    short: list[str] = []
    for one in actions_of(command, cwd=ROOT, home=HOME):
        for each in (*one.effects, one) if isinstance(one, Run) else (one,):
            match each:
                case Read(path=path):
                    short.append(f"r {path.removeprefix(f'{ROOT}/')}")
                case Write(path=path):
                    short.append(f"w {path.removeprefix(f'{ROOT}/')}")
                case Network(host=host):
                    short.append(f"n {host}")
                case Unknown():
                    short.append("?")
                case Run(unknown=why) if why:
                    short.append("?")
                case Run(argv=argv, opaque=True):
                    short.append(f"x {argv[0]}")
    return short


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("cat a /etc/b", ["r a", "r /etc/b"]),
        ("cat $x", ["r /"]),
        ("ls", [f"r {ROOT}"]),
        ("grep -n x a", ["r a"]),
        ("grep -e x -f/p a", ["r x", "r /p", "r a"]),
        ("echo a $x", []),
        ("sort -u a", ["r a"]),
        ("sort -ob a", ["?"]),
        ("uniq a b", ["r a", "w b"]),
        ("rg x src", ["r src"]),
        ("rg --pre=x y", ["?"]),
        ("date +%F", []),
        ("date 0101", ["?"]),
        ("xxd a", ["r a"]),
        ("test -f a", ["r a"]),
        ("[ a = b ]", []),
        ("[ a", ["?"]),
        ("[ -v a ]", ["?"]),
        ('[ "$a" "$b" ]', ["?"]),
        ("printf %s a", []),
        ("printf %5n a", ["?"]),
        ("hostname -f", []),
        ("hostname x", ["?"]),
        ("xxd a b", ["?"]),
        ("uniq a b c", ["?"]),
    ],
)
def test_readers(command: str, does: list[str]) -> None:
    assert told(command) == does


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("rm -rf a b", ["w a", "w b"]),
        ("rm *.o", [f"w {ROOT}"]),
        ("rm -- -x", ["w -x"]),
        ("rm $x", ["?"]),
        ("mv a b", ["w a", "w b"]),
        ("cp a b c", ["r a", "r b", "w c"]),
        ("cp -t c a", ["r a", "w c"]),
        ("cp a", ["?"]),
        ("cp *.py b", ["?"]),
        ("cp ./*.py b", [f"r {ROOT}", "w b"]),
        ("cp x/.git .", ["?", "w .git"]),
        ("install -d a b", ["w a", "w b"]),
        ("ln -s /etc/x a/b", ["w a/b", "w /etc/x", "w /etc/x"]),
        ("ln a b", ["w b", "w a"]),
        ("dd if=a of=b bs=1", ["r a", "w b"]),
        ("dd a", ["?"]),
        ("tee -a x", ["w x"]),
        ("chmod +x a", ["w a"]),
        ("ln -s $x a", ["?"]),
        ("split a b c", ["?"]),
        ("rsync", ["?"]),
        ("sed -i p $x", ["?"]),
        ("split -l 5 a p/x", ["r a", "w p", "w p/x"]),
        ("patch -p1 -i a", ["r a", f"w {ROOT}", "x patch"]),
        ("tar xzf a.tgz -C b", ["r a.tgz", "w b"]),
        ("tar -cf a.tar b", ["r b", "w a.tar"]),
        ("tar tf a.tar", ["r a.tar"]),
        ("tar cfz /x b", ["r b", "w /x"]),
        ("tar xfC a.tar b", ["r a.tar", "w b"]),
        ("tar", ["?"]),
        ("tar x", ["?"]),
        ("unzip a.zip -d b", ["r a.zip", "w b"]),
        ("rsync -a a/ b/", ["r a", "w b"]),
        ("rsync -a a h:b", ["?"]),
        ("sed -i.bak s/a/b/ x", ["w x", "w x.bak"]),
        ("sed p x", ["r x"]),
        ("awk '{print}' v=1 x", ["r x"]),
    ],
)
def test_writers(command: str, does: list[str]) -> None:
    assert told(command) == does


HERE = [f"w {ROOT}", "x git"]


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("git", [f"r {ROOT}"]),
        ("git log -5 --oneline", [f"r {ROOT}"]),
        ("git log --outp=x", ["?"]),
        ("git diff a /etc/b", [f"r {ROOT}", "r /etc/b"]),
        ("git commit -m x", HERE),
        ("git checkout -- ../x", [f"w {ROOT}", "w /home/dev/x", "x git"]),
        ("git init sub", [f"w {ROOT}", "w sub", "x git"]),
        ("git branch -v", [f"r {ROOT}"]),
        ("git branch new", HERE),
        ("git tag -l", [f"r {ROOT}"]),
        ("git tag v1", HERE),
        ("git stash", HERE),
        ("git stash -u", HERE),
        ("git stash list", [f"r {ROOT}"]),
        ("git stash create", ["?"]),
        ("git reflog", [f"r {ROOT}"]),
        ("git reflog expire", ["?"]),
        ("git remote -v", [f"r {ROOT}"]),
        ("git remote add x y", ["?", "w .git/config"]),
        ("git config --get x", [f"r {ROOT}"]),
        ("git config x y", ["?", "w .git/config"]),
        ("git worktree list", [f"r {ROOT}"]),
        ("git worktree add ../x", [f"w {ROOT}", "w /home/dev/x", "x git"]),
        ("git worktree move a b", ["?"]),
        ("git fetch", ["n *", *HERE]),
        ("git push https://h.org/x", ["n h.org", *HERE]),
        ("git fetch ../x", ["?"]),
        ("git clone u@h.org:a/b.git", ["n h.org", "w b", "x git"]),
        ("git clone", ["?"]),
        ("git -C sub status", ["r sub"]),
        ("git -C $x status", ["?"]),
        ("git -C .. status", ["?", "w /home/dev"]),
        ("git -c a=b status", ["?"]),
        ("git $x", ["?"]),
        ("git frobnicate", ["?"]),
    ],
)
def test_git(command: str, does: list[str]) -> None:
    assert told(command) == does


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("pytest tests", ["x pytest"]),
        ("pytest --junitxml=/x", ["?"]),
        ("pylint --init-hook=x a", ["?"]),
        ("python a.py", ["x python"]),
        ("python -V", []),
        ("python", ["?"]),
        ("python -m pytest -x", ["x python"]),
        ("python -m pip install x", ["n *", f"w {ROOT}", "x python"]),
        ("python -m json.tool a b", ["r a", "w b"]),
        ("python -m venv v", ["w v", "x python"]),
        ("python -m http.server", ["n *", "x python"]),
        ("python -m coverage run -m pytest", ["x python", "x python"]),
        ("python -m frobnicate", ["?"]),
        ("pip3 list", ["x pip3"]),
        ("coverage report", ["x coverage"]),
        ("node --test", ["x node"]),
        ("node a.js", ["x node"]),
        ("node -v", []),
        ("ruby ../a.rb", ["?", "w /home/dev/a.rb"]),
        ("npm test", ["x npm"]),
        ("npm ci", ["n *", f"w {ROOT}", "x npm"]),
        ("npm pub", ["?"]),
        ("npx x", ["n *", "x npx"]),
        ("npx", ["?"]),
        ("go run x@latest", ["n *", "x go"]),
        ("go test --exec=a", ["?"]),
        ("uv run pytest", ["x uv", "x pytest"]),
        ("uv run a.py", ["x uv", "x python"]),
        ("uv run", ["?"]),
        ("make -j4 test V=1", ["x make"]),
        ("make -C .. test", ["?", "w /home/dev"]),
        ("make X='$(y)'", ["?"]),
        ("make -f -", ["?"]),
        ("cmake -S . -B b -DX=Y", ["x cmake"]),
        ("cmake -B b -DX=/y", ["?"]),
        ("just test", ["x just"]),
        ("just t ';x'", ["?"]),
        ("tox -e py", ["x tox"]),
        ("gcc -O2 a.c -o b", ["r a.c", "w b"]),
        ("gcc a.c", ["r a.c", f"w {ROOT}"]),
        ("gcc @a", ["?"]),
        ("mvn -q test", ["x mvn"]),
        ("mvn exec:exec", ["?"]),
        ("./run.sh a", ["x ./run.sh"]),
        ("./rm ../a", ["w /home/dev/a", "x ./rm"]),
        ("../run.sh", ["?"]),
        ("/bin/rm a", ["w a"]),
        ("/opt/rm a", ["?"]),
    ],
)
def test_projects(command: str, does: list[str]) -> None:
    assert told(command) == does


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("curl -O h.org/x", ["n h.org", f"w {ROOT}"]),
        ("curl -o x h.org", ["n h.org", "w x"]),
        ("curl -d @x h.org", ["?"]),
        ("curl file:///x", ["?"]),
        ("wget h.org", ["n h.org", f"w {ROOT}"]),
        ("wget -O x h.org", ["n h.org", "w x"]),
        ("dig $x", ["?"]),
        ("dig A.org", ["n a.org"]),
        ("apt-get install x", ["n *", "w /", "x apt-get"]),
        ("apt-get", ["?"]),
        ("ssh h", ["n *", "?"]),
    ],
)
def test_network(command: str, does: list[str]) -> None:
    assert told(command) == does


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("timeout -k 1 5 rm a", ["w a"]),
        ("timeout 5", ["?"]),
        ("nice -n 5 time rm a", ["w a"]),
        ("command -v x", []),
        ("command rm a", ["w a"]),
        ("command -p ls", ["?"]),
        ("env", []),
        ("env CI=1 rm a", ["w a"]),
        ("env PATH=x rm a", ["?"]),
        ("bash a.sh", ["x bash"]),
        ("bash +x a.sh", ["?"]),
        ("bash -c 'rm a'", ["w a"]),
        ("sh -c '[[ a ]]'", ["?"]),
        ("sh", ["?"]),
        ("set -o x", ["?"]),
        ("bash -o posix a", ["?"]),
        ("xargs rm", ["?"]),
        ("xargs -I{} ls {}", ["r /"]),
        ("xargs", []),
        ("find a b -name x -delete", ["r a", "r b", "w a", "w b"]),
        ("find a -exec rm {} +", ["r a", "w a"]),
        ("find a -exec cp {} /x \\;", ["r a", "r a", "w /x"]),
        ("find -exec ls", ["?"]),
        ("find -fprint x", ["?"]),
        ("find -name $x", ["?"]),
        ('find "$x"', ["?"]),
    ],
)
def test_wrappers(command: str, does: list[str]) -> None:
    assert told(command) == does


@pytest.mark.parametrize(
    "script",
    ["p", "1,5p;$d", "/a/,/b/{s/x/y/g;p}", "s|a/b|c|", "s/a\\/b/&/2I", "y/ab/ba/", "1!G;h;$!d", "a x", "1~2d", "$="],
)
def test_a_script_of_sed_that_only_edits(script: str) -> None:
    assert is_plain_sed(script)


@pytest.mark.parametrize(
    "script",
    [
        "e",
        "1e x",
        "s/a/b/e",
        "s/a/b/gw x",
        "w x",
        "r x",
        "R x",
        "W x",
        "F",
        "s/a/b",
        "p;e",
        "{e",
        "b x",
        "a\\",
        "s/a\n/b/",
    ],
)
def test_a_script_of_sed_that_may_do_more(script: str) -> None:
    assert not is_plain_sed(script)


def test_a_program_of_awk_that_only_prints() -> None:
    assert all(map(is_plain_awk, ("{print $1}", "$3 > 5 || /x/ {print}", "{if ($1 > 2) print $1}", "END{print n}")))
    doubtful = ('{print > "x"}', '{print | "x"}', "system(x)", '"x" | getline', '@load "x"', "{printf $1 >> f}")
    assert not any(map(is_plain_awk, doubtful))


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://Example.org/x", "example.org"),
        ("http://u@h.org:80", "h.org"),
        ("git@h.org:x/y", "h.org"),
        ("http://a@b@c/", None),
        ("http://a\\@b/", None),
        ("http://[::1]/", None),
        ("ext::sh -c x", None),
        ("ssh://-oProxyCommand=x/y", None),
        ("u@h::x", None),
    ],
)
def test_a_host_is_known_only_where_all_programs_agree(address: str, host: str | None) -> None:
    assert host_of(address) == host


def options(
    spec: str, *words: str, stop: bool = False, last: str = ""
) -> tuple[list[tuple[str, str | None]], list[str]]:
    call = Call("p", tuple(Argument(word, value=word) for word in words), ROOT, ROOT)
    found = parse(call, spec, stop=stop, last=last)
    return [(name, value.value if value else None) for name, value in found.found], [
        one.source for one in found.operands
    ]


def test_options_are_read_by_their_usage_line() -> None:
    spec = "-ab -n: -i? --all --lines: --color? -Wall! -#"
    assert options(spec, "-ba", "x", "-n5", "-n", "6") == (
        [("-b", None), ("-a", None), ("-n", "5"), ("-n", "6")],
        ["x"],
    )
    assert options(spec, "--lines=3", "--lines", "4", "--color") == (
        [("--lines", "3"), ("--lines", "4"), ("--color", None)],
        [],
    )
    assert options(spec, "-i.bak", "-i", "x", "-20", "-Wall") == (
        [("-i", ".bak"), ("-i", None), ("-#", "-20"), ("-Wall", None)],
        ["x"],
    )
    assert options(spec, "-a", "--", "-b", "-") == ([("-a", None)], ["-b", "-"])
    assert options(spec, "-a", "x", "-z", stop=True) == ([("-a", None)], ["x", "-z"])
    assert options(spec, "-n", "x", "-z", last="-n") == ([("-n", "x")], ["-z"])


@pytest.mark.parametrize("word", ["-c", "-abc", "--al", "--all=x", "--lines", "-n", "-Wal", "-x"])
def test_what_is_not_in_the_usage_line_is_refused(word: str) -> None:
    with pytest.raises(NotUnderstood):
        options("-ab -n: --all --lines: -Wall!", word)


@pytest.mark.parametrize("words", [("-n", "--all"), ("--lines", "-a"), ("--lines",)])
def test_a_value_that_may_be_an_option_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(NotUnderstood, match="cannot be told"):
        options("-a -n: --all --lines:", *words)


def test_an_unknown_word_is_a_value_of_a_letter_and_not_of_a_long_option() -> None:
    assert told('git commit -m "$x"') == HERE
    assert told('git log --format "$x"') == ["?"]


def test_what_may_turn_out_to_be_an_option_is_no_operand() -> None:
    call = Call("p", (Argument('"$x"'),), ROOT, ROOT)
    with pytest.raises(NotUnderstood, match="may turn out to be an option"):
        parse(call, "")
    assert parse(call, "", loose=True).operands


def test_variables_that_change_nothing_are_few_and_have_plain_values() -> None:
    good = {"CI": "1", "LANG": "C.UTF-8", "PYTHONPATH": "src:lib/x"}
    assert all(is_harmless(name, Argument("", value=value)) for name, value in good.items())
    bad = {"PATH": "x", "CI": "a b", "TZ": "/x", "PYTHONPATH": "/x", "MYPYPATH": "a/../../b"}
    assert not any(is_harmless(name, Argument("", value=value)) for name, value in bad.items())
    assert not is_harmless("CI", Argument("$x"))


@pytest.mark.parametrize(
    ("word", "out"),
    [("a", False), ("/x", True), ("--o=/x", True), ("-o../x", True), ("a:/x", True), (f"--o={ROOT}/x", False)],
)
def test_a_word_that_leads_out_of_the_workspace_is_seen(word: str, out: bool) -> None:
    assert leaves(Argument(word, value=word), cwd=ROOT, start=ROOT) == out


def test_a_program_is_either_known_or_has_a_reason_why_not() -> None:
    assert not KNOWN.keys() & WHY_NOT.keys()
