from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.permissions import (
    Action,
    Allow,
    Ask,
    Decision,
    Deny,
    Network,
    Policy,
    Read,
    Rule,
    Run,
    Unknown,
    Write,
    in_words,
)

ROOT = "/home/dev/project"
STATUS = Run(argv=("git", "status"))
TESTS = Run(argv=("pytest", "-q"), opaque=True)
PUSH = Run(argv=("git", "push", "origin", "main"), effects=(Network(host="github.com"),))
OUTSIDE = Write(path="/etc/hosts")
INSIDE = Write(path=f"{ROOT}/src/a.py")
ODD = Unknown(why="`$x` is not known")


def judge(*actions: Action, rules: tuple[Rule, ...] = (), remembered: tuple[Rule, ...] = (), **more: Any) -> Decision:
    policy = Policy(rules=rules, roots=(ROOT,), hosts=("pypi.org", "*.example.org"))
    return policy.judge("bash", {"command": "x"}, actions, remembered=remembered, **more)


class TestWithoutRules:
    @pytest.mark.parametrize(
        "action",
        [
            STATUS,
            TESTS,
            INSIDE,
            Write(path=ROOT),
            Read(path="/etc/passwd"),
            Network(host="pypi.org"),
            Network(host="a.b.example.org"),
            Run(argv=("touch", "a"), effects=(Write(path=f"{ROOT}/a"),)),
        ],
    )
    def test_what_does_no_harm_runs(self, action: Action) -> None:
        assert judge(action) == Allow()

    def test_a_call_that_says_nothing_of_itself_runs(self) -> None:
        assert judge() == Allow()

    @pytest.mark.parametrize(
        ("action", "reason"),
        [
            (OUTSIDE, "It writes outside of the allowed folders: /etc/hosts."),
            (Write(path="/home/dev/project-2/a"), "It writes outside of the allowed folders: /home/dev/project-2/a."),
            (Write(path="/home/dev"), "It writes outside of the allowed folders: /home/dev."),
            (Network(host="evil.example"), "It uses the network: evil.example."),
            (Network(host="example.org"), "It uses the network: example.org."),
            (Network(host="notexample.org"), "It uses the network: notexample.org."),
            (Network(host="*"), "It uses the network: some host."),
            (ODD, "It was not understood: `$x` is not known."),
            (PUSH, "It uses the network: github.com."),
        ],
    )
    def test_what_is_gated_asks_and_says_why(self, action: Action, reason: str) -> None:
        decision = judge(STATUS, action)
        assert isinstance(decision, Ask)
        assert decision.reason == reason

    def test_every_reason_is_told_once(self) -> None:
        decision = judge(OUTSIDE, PUSH, OUTSIDE)
        assert isinstance(decision, Ask)
        assert decision.reason == (
            "It writes outside of the allowed folders: /etc/hosts. It uses the network: github.com."
        )

    def test_a_tool_that_declared_it_asks_whatever_it_does(self) -> None:
        assert judge(declared="send needs leave.") == Ask(
            reason="send needs leave.", remember=(Rule(effect="allow", tool="bash"),)
        )


class TestRules:
    def test_deny_beats_ask_beats_allow_in_any_order(self) -> None:
        allow = Rule(effect="allow", tool="bash")
        ask = Rule(effect="ask", run="git push **")
        deny = Rule(effect="deny", network="github.com", reason="Nothing leaves this house.")
        assert judge(PUSH, rules=(allow,)) == Allow()
        assert isinstance(judge(PUSH, rules=(allow, ask)), Ask)
        assert isinstance(judge(PUSH, rules=(ask, allow)), Ask)
        for rules in ((allow, ask, deny), (deny, allow, ask)):
            assert judge(PUSH, rules=rules) == Deny(reason="Nothing leaves this house.")

    def test_an_allow_rule_speaks_for_what_it_names_and_nothing_else(self) -> None:
        rule = Rule(effect="allow", run="git push **")
        assert judge(PUSH, rules=(rule,)) == Allow()
        assert isinstance(judge(PUSH, OUTSIDE, rules=(rule,)), Ask)
        assert isinstance(judge(PUSH, ODD, rules=(rule,)), Ask)

    def test_what_a_command_does_is_allowed_with_it_or_by_itself(self) -> None:
        assert judge(PUSH, rules=(Rule(effect="allow", network="github.com"),)) == Allow()
        assert isinstance(judge(PUSH, rules=(Rule(effect="allow", network="gitlab.com"),)), Ask)

    def test_a_rule_of_another_tool_is_not_meant(self) -> None:
        assert isinstance(judge(OUTSIDE, rules=(Rule(effect="allow", tool="write_file"),)), Ask)
        assert judge(STATUS, rules=(Rule(effect="deny", tool="write_file"),)) == Allow()
        assert judge(STATUS, rules=(Rule(effect="deny", tool="write_file", run="git status"),)) == Allow()

    def test_a_declared_tool_is_allowed_as_a_whole_or_not_at_all(self) -> None:
        assert judge(declared="It is dear.", rules=(Rule(effect="allow", tool="bash"),)) == Allow()
        assert isinstance(judge(STATUS, declared="It is dear.", rules=(Rule(effect="allow", run="git **"),)), Ask)

    @pytest.mark.parametrize(
        ("pattern", "argv", "matches"),
        [
            ("git status", ("git", "status"), True),
            ("git status", ("git", "status", "-s"), False),
            ("git status", ("git",), False),
            ("git **", ("git",), True),
            ("git **", ("git", "push", "--force"), True),
            ("git *", ("git", "push"), True),
            ("git *", ("git", "push", "--force"), False),
            ("npm run test*", ("npm", "run", "test:unit"), True),
            ("npm run 'a b'", ("npm", "run", "a b"), True),
            (r"echo '\*'", ("echo", "*"), True),
            (r"echo '\*'", ("echo", "x"), False),
            ("g.t", ("git",), False),
            ("echo *", ("echo", "two\nlines"), True),
        ],
    )
    def test_a_run_pattern_is_a_command_as_it_is_typed(
        self, pattern: str, argv: tuple[str, ...], matches: bool
    ) -> None:
        decision = judge(Run(argv=argv), rules=(Rule(effect="deny", run=pattern),))
        assert isinstance(decision, Deny) is matches

    @pytest.mark.parametrize(
        ("pattern", "path", "matches"),
        [
            ("/a/b", "/a/b", True),
            ("/a/b", "/a/bc", False),
            ("/a/*", "/a/b", True),
            ("/a/*", "/a/b/c", False),
            ("/a/**", "/a/b/c", True),
            ("**/.env", "/a/b/.env", True),
            ("**/.env", "/.env", True),
            (".env", "/a/.env", True),
            (".env", "/a/x.env", False),
            ("**", "/anything", True),
            ("/a/.git/**", "/a/.github/x", False),
            ("/a\\*", "/a*", True),
            ("/a\\*", "/ab", False),
        ],
    )
    def test_a_path_pattern_is_a_glob(self, pattern: str, path: str, matches: bool) -> None:
        for action, rule in (
            (Write(path=path), Rule(effect="deny", write=pattern)),
            (Read(path=path), Rule(effect="deny", read=pattern)),
        ):
            assert isinstance(judge(action, rules=(rule,)), Deny) is matches

    @pytest.mark.parametrize("action", [Write(path=f"{ROOT}/.git"), Write(path=ROOT), Read(path=ROOT)])
    def test_what_reaches_into_a_denied_place_is_denied(self, action: Action) -> None:
        rules = (
            Rule(effect="deny", write=f"{ROOT}/.git/hooks/**"),
            Rule(effect="deny", read=f"{ROOT}/.git/config"),
        )
        assert isinstance(judge(action, rules=rules), Deny)

    def test_a_network_rule_that_holds_back_counts_where_the_host_cannot_be_told(self) -> None:
        anywhere = Network(host="*")
        assert isinstance(judge(anywhere, rules=(Rule(effect="deny", network="evil.example"),)), Deny)
        assert isinstance(judge(anywhere, rules=(Rule(effect="allow", network="pypi.org"),)), Ask)
        assert judge(anywhere, rules=(Rule(effect="allow", network="*"),)) == Allow()

    @pytest.mark.parametrize(
        ("rule", "action", "reason"),
        [
            (Rule(effect="deny", tool="bash"), STATUS, "bash is denied by a rule."),
            (Rule(effect="deny", run="git **"), STATUS, "`git status` is denied by a rule."),
            (Rule(effect="deny", read="/etc/**"), Read(path="/etc/x"), "reading /etc/x is denied by a rule."),
            (Rule(effect="deny", write="/etc/**"), OUTSIDE, "writing /etc/hosts is denied by a rule."),
            (Rule(effect="deny", network="a"), Network(host="a"), "talking to a is denied by a rule."),
            (Rule(effect="deny", network="a"), Network(host="*"), "the network is denied by a rule."),
            (Rule(effect="ask", run="git **"), STATUS, "A rule asks before `git status`."),
        ],
    )
    def test_a_rule_without_a_reason_of_its_own_says_what_it_hit(self, rule: Rule, action: Action, reason: str) -> None:
        decision = judge(action, rules=(rule,))
        assert isinstance(decision, Ask | Deny)
        assert decision.reason == reason


ACTIONS = st.one_of(
    st.builds(Run, argv=st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3).map(tuple)),
    st.builds(
        Run,
        argv=st.lists(st.sampled_from(["git", "*", "a b", "\\", "'", "-x"]), min_size=1, max_size=3).map(tuple),
        effects=st.lists(st.sampled_from([OUTSIDE, Network(host="evil.example"), Read(path="/x")]), max_size=2).map(
            tuple
        ),
    ),
    st.sampled_from(["/etc/*", "/etc/a b", "/x\\y", f"{ROOT}/a"]).map(lambda path: Write(path=path)),
    st.sampled_from([OUTSIDE, INSIDE, PUSH, TESTS, STATUS, ODD, Network(host="*"), Network(host="evil.example")]),
)


class TestRemembering:
    @given(st.lists(ACTIONS, max_size=4))
    def test_what_is_offered_answers_the_same_question_for_good(self, actions: list[Action]) -> None:
        asking = Rule(effect="ask", run="git **", reason="Look at it first.")
        decision = judge(*actions, rules=(asking,))
        if isinstance(decision, Ask):
            assert decision.remember
            assert judge(*actions, rules=(asking,), remembered=decision.remember) == Allow()

    @given(st.lists(ACTIONS, max_size=3), st.lists(ACTIONS, max_size=3))
    def test_what_is_remembered_of_one_call_allows_no_other_action(
        self, actions: list[Action], others: list[Action]
    ) -> None:
        decision = judge(*actions)
        remembered = decision.remember if isinstance(decision, Ask) else ()
        other = Policy(roots=(ROOT,)).judge("bash", {"command": "y"}, others, remembered=remembered)
        alone = Policy(roots=(ROOT,)).judge("bash", {"command": "y"}, others)
        known = {*actions, *(effect for action in actions if isinstance(action, Run) for effect in action.effects)}
        if not set(others) & known and not any(isinstance(each, Run) and set(each.effects) & known for each in others):
            assert type(other) is type(alone)

    def test_a_program_is_remembered_with_what_came_of_it(self) -> None:
        empty = ("rm", "-rf", "*")  # in whatever folder, and as nobody has decoded it
        asked = judge(Run(argv=empty, effects=(Write(path="/srv/cache"),)))
        assert isinstance(asked, Ask)
        for path, decision in (("/srv/cache", Allow), ("/home", Ask)):
            again = Run(argv=empty, effects=(Write(path=path),))
            assert isinstance(judge(again, remembered=asked.remember), decision), path
        assert judge(Run(argv=empty), remembered=asked.remember) == Allow()

    def test_only_what_needed_it_is_remembered(self) -> None:
        asked = judge(STATUS, PUSH, INSIDE, rules=(Rule(effect="ask", run="git status"),))
        assert isinstance(asked, Ask)
        assert [in_words(rule) for rule in asked.remember] == [
            f"allow bash: run {' '.join(run.argv)}" for run in (STATUS, PUSH)
        ]
        assert judge(STATUS, PUSH, INSIDE, remembered=asked.remember) == Allow()

    def test_where_a_rule_asks_before_every_call_this_one_is_remembered_as_a_whole(self) -> None:
        rules = (Rule(effect="ask", tool="bash"),)
        asked = judge(STATUS, rules=rules)
        assert isinstance(asked, Ask)
        assert asked.remember == (Rule(effect="allow", tool="bash", input={"command": "x"}),)
        assert judge(STATUS, rules=rules, remembered=asked.remember) == Allow()

    def test_a_rule_with_an_empty_pattern_speaks_for_no_call(self) -> None:
        for field in ("run", "read", "write", "network"):
            assert isinstance(judge(ODD, rules=(Rule(effect="allow", **{field: ""}),)), Ask), field  # type: ignore[arg-type]

    def test_an_answer_changes_nothing_about_what_is_denied(self) -> None:
        deny = Rule(effect="deny", network="github.com")
        assert isinstance(judge(PUSH, rules=(deny,), remembered=(Rule(effect="allow"),)), Deny)

    def test_what_was_not_understood_is_remembered_to_the_letter(self) -> None:
        decision = judge(ODD)
        assert isinstance(decision, Ask)
        assert decision.remember == (Rule(effect="allow", tool="bash", input={"command": "x"}),)
        other = Policy(roots=(ROOT,)).judge("bash", {"command": "z"}, [ODD], remembered=decision.remember)
        assert isinstance(other, Ask)

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            (Rule(effect="allow", tool="send"), "allow send: every call"),
            (Rule(effect="allow", tool="bash", run="git push"), "allow bash: run git push"),
            (Rule(effect="deny", read="/a", write="/b"), "deny *: read /a and write /b"),
            (Rule(effect="allow", tool="bash", network="a.b"), "allow bash: use the network: a.b"),
            (Rule(effect="allow", tool="bash", input={"command": "x"}), "allow bash: exactly this call"),
        ],
    )
    def test_a_rule_can_be_read(self, rule: Rule, words: str) -> None:
        assert in_words(rule) == words


def test_without_a_sandbox_code_that_nobody_looked_at_asks() -> None:
    decision = Policy(roots=(ROOT,), confined=False).judge("bash", {}, [TESTS])
    assert isinstance(decision, Ask)
    assert decision.reason == "`pytest -q` runs code that nobody has looked at, and there is no sandbox."


MYSTERY = Run(argv=("mystery", "a b"), unknown="the program mystery is not known")


def test_a_program_that_is_not_known_asks_unless_a_rule_knows_it() -> None:
    asked = Policy().judge("bash", {"command": "mystery 'a b'"}, [MYSTERY])
    assert isinstance(asked, Ask)
    assert asked.reason == "It was not understood: the program mystery is not known. It may use the network."
    assert asked.remember == (Rule(effect="allow", tool="bash", input={"command": "mystery 'a b'"}),)
    for pattern, decision in (("mystery *", Allow), ("mystery **", Allow), ("mystery", Ask), ("myst* **", Allow)):
        policy = Policy(rules=(Rule(effect="allow", run=pattern),))
        assert isinstance(policy.judge("bash", {}, [MYSTERY]), decision), pattern
        assert isinstance(policy.judge("bash", {}, [MYSTERY, ODD]), Ask)
    both = Policy(rules=(Rule(effect="allow", run="mystery **"), Rule(effect="deny", run="mystery a*")))
    assert isinstance(both.judge("bash", {}, [MYSTERY]), Deny)
    known = Run(argv=("mystery",), unknown="?", effects=(Write(path="/data/x"),))
    assert isinstance(Policy(rules=(Rule(effect="allow", write="/data/**"),)).judge("bash", {}, [known]), Ask)


def test_a_rule_for_all_that_is_in_a_folder_holds_back_who_takes_the_folder_itself() -> None:
    policy = Policy(roots=(ROOT,), rules=(Rule(effect="deny", write="**/migrations/**"),))
    for path, decision in (("migrations", Deny), ("app/migrations", Deny), ("app", Allow), ("migrations2", Allow)):
        actions = [Run(argv=("rm",), effects=(Write(path=f"{ROOT}/{path}"),))]
        assert isinstance(policy.judge("bash", {}, actions), decision), path


def test_an_allow_rule_for_a_path_or_a_host_also_speaks_for_what_a_command_does_there() -> None:
    copy = Run(argv=("cp", "a", "/out/b"), effects=(Read(path=f"{ROOT}/a"), Write(path="/out/b")))
    allowed = Policy(roots=(ROOT,), rules=(Rule(effect="allow", write="/out/**"),))
    assert isinstance(allowed.judge("bash", {}, [copy]), Allow)
    both = Run(argv=("cp",), effects=(Write(path="/out/b"), Write(path="/etc/b")))
    decision = allowed.judge("bash", {}, [both])
    assert isinstance(decision, Ask)
    assert decision.reason == "It writes outside of the allowed folders: /etc/b."


def test_always_for_some_host_is_not_always_for_every_host() -> None:
    asked = Policy().judge("fetch", {"url": "x"}, [Network(host="*")])
    assert isinstance(asked, Ask)
    assert asked.remember == (Rule(effect="allow", tool="fetch", input={"url": "x"}, effects=(Network(host="*"),)),)
    assert isinstance(Policy().judge("fetch", {"url": "x"}, [Network(host="*")], remembered=asked.remember), Allow)
    other = Policy().judge("fetch", {"url": "y"}, [Network(host="evil.example")], remembered=asked.remember)
    assert isinstance(other, Ask)
