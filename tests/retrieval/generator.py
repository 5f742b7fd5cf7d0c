"""Conversations from a seed: two people over many dated sessions, hundreds of turns, and questions about them.

Both people have facts of the same kinds, some change later, and a fact is said in one of several ways, alone or as the
answer to a question of the other one. Questions name a person, a date, or a time relative to when they are asked.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Sequence

import attrs

from .conversations import MINUTE, Conversation, Question, Said, small_talk

__all__ = ["generated"]

NAMES = "Alma Boris Carmen Dev Elif Farid Greta Hiro Ines Jamal Katya Luca Mina Nuno Oksana Pablo Quinn Rosa Sven Tariq"
DAY = 86_400_000


@attrs.frozen
class Topic:
    """One kind of fact. {v} is the value, {n} the person; `asks` is how the other one may bring it up, "" if never.

    `again` is how a later change is told, "" where it cannot change. `direct` questions share words with what was
    said, `other` ones share none.
    """

    values: str
    says: Sequence[str]
    direct: Sequence[str]
    other: Sequence[str]
    asks: str = ""
    again: str = ""


TOPICS = [
    Topic(
        "a bakery/a shipyard/a law firm/a zoo/a radio station",
        ["I started a new job at {v}, they are so friendly.", "They hired me! From Monday I work at {v}."],
        ["Where did {n} start a new job?", "Where does {n} work?"],
        ["Who is {n}'s employer?", "How does {n} earn a living?"],
        "Did anything come of your applications?",
        "I quit, and now I work at {v} instead.",
    ),
    Topic(
        "Lyon/Tallinn/Porto/Krakow/Bergen/Izmir",
        ["I just moved to {v}, my boxes are everywhere.", "So, {v} is home for me now. I got the keys!"],
        ["Which city did {n} move to?", "Where does {n} live now?"],
        ["In what town is {n}'s residence?"],
        "Where will you end up living?",
        "We moved again, this time to {v}.",
    ),
    Topic(
        "peanuts/shellfish/cats/pollen/latex",
        ["The doctor says that I'm allergic to {v}.", "My skin test came back, it's {v}. I have to avoid it."],
        ["What is {n} allergic to?"],
        ["Which thing makes {n} ill?", "What must be kept away from {n} for medical reasons?"],
        "What did the allergist find?",
    ),
    Topic(
        "a violin/a harp/a saxophone/the drums/an accordion",
        ["I've taken up {v}, my neighbours hate me.", "I practise {v} every evening, it calms me."],
        ["What does {n} practise in the evening?", "What has {n} taken up?"],
        ["Which musical instrument does {n} play?"],
        "What is that noise in the background?",
    ),
    Topic(
        "a tortoise/a parrot/a ferret/a corgi/a rabbit",
        [
            "We adopted {v} from the shelter, the children are over the moon.",
            "There's {v} living with us since Sunday!",
        ],
        ["What did {n} adopt from the shelter?"],
        ["Which pet does {n} have?", "What kind of animal is part of {n}'s household?"],
        "Why is it so lively at yours?",
    ),
    Topic(
        "Iceland/Morocco/Vietnam/Peru/Scotland",
        ["I booked the flights to {v}, three whole weeks!", "Guess who spends the holidays in {v}? Me!"],
        ["Where did {n} book flights to?", "Where does {n} spend the holidays?"],
        ["What is {n}'s travel destination?"],
        "Any plans for your vacation?",
        "We cancelled that trip, it will be {v} after all.",
    ),
    Topic(
        "a cracked rib/a sprained ankle/a broken wrist/a torn ligament/a concussion",
        ["I fell off my bike and ended up with {v}.", "The X-ray shows {v}, so no sports for me."],
        ["What did {n} get from the fall off the bike?", "What did {n}'s X-ray show?"],
        ["Which injury did {n} suffer?"],
        "You were at the hospital? What happened?",
    ),
    Topic(
        "Dune/Emma/Solaris/Ulysses/Middlemarch",
        ["I can't put {v} down, I read until three.", "I finished {v} at last. What an ending!"],
        ["Which book did {n} finish?", "What kept {n} reading until three?"],
        ["Which novel was {n} absorbed in?"],
        "Why do you look so tired?",
    ),
    Topic(
        "Japanese/Swahili/Arabic/Finnish/Greek",
        ["I signed up for a {v} course, the grammar is wild.", "My {v} teacher praised me for the first time."],
        ["For which course did {n} sign up?"],
        ["What language is {n} learning?"],
        "How do you spend your Tuesdays?",
        "I dropped that course and study {v} now.",
    ),
    Topic(
        "beekeeping/pottery/fencing/archery/calligraphy",
        ["I tried {v} and I'm hooked.", "My new passion is {v}. I spend every free hour on it."],
        ["What did {n} try and get hooked on?", "What is {n}'s new passion?"],
        ["Which hobby has {n} begun?"],
        "You sound happy, what's new?",
    ),
    Topic(
        "twins/a boy/a girl/triplets",
        ["My sister gave birth, it's {v}!", "I'm an uncle or aunt or whatever, it's {v}!"],
        ["What did {n}'s sister give birth to?"],
        ["Which babies joined {n}'s family?"],
        "Any word from the hospital?",
    ),
    Topic(
        "a fern/a lemon tree/tomatoes/orchids/chillies",
        ["I planted {v} on the balcony, fingers crossed.", "My {v} survived the frost, can you believe it?"],
        ["What did {n} plant on the balcony?", "What of {n}'s survived the frost?"],
        ["What does {n} grow at home?"],
        "How is your green thumb doing?",
    ),
    Topic(
        "a red scooter/an old van/a cargo bike/a convertible/a motorboat",
        ["I bought {v} from my uncle, it makes funny noises.", "Look out of the window: {v}, and it's mine!"],
        ["What did {n} buy from the uncle?"],
        ["Which vehicle does {n} own?"],
        "How do you get around these days?",
        "I sold it and got {v}.",
    ),
    Topic(
        "chess/the relay/the baking contest/the poetry slam/the quiz night",
        ["I won {v} yesterday, I'm still shaking!", "Yesterday was {v}, and I came first out of forty."],
        ["What did {n} win?"],
        ["In which competition was {n} victorious?"],
        "Why are you grinning?",
    ),
    Topic(
        "Professor Lind/Doctor Amari/Aunt Zora/Coach Benitez/Mrs. Pham",
        ["I met {v} at the market, after all these years.", "Guess whom I ran into: {v}! We talked for an hour."],
        ["Whom did {n} meet at the market?", "Whom did {n} run into?"],
        ["With which old acquaintance did {n} have a surprise reunion?"],
        "What took you so long?",
    ),
]
REACTIONS = [
    "Wow, that's great to hear!",
    "Oh no! Or oh yes? I'm never sure with you.",
    "I did not expect that, {n}.",
    "Really, {n}? Tell me more!",
    "Good for you, {n}. You deserve it.",
    "Ha, that is so like you, {n}.",
]


def generated(seed: int, *, turns: int = 400) -> Conversation:
    """A conversation of about so many turns over a year, with some 40 questions."""
    chance = random.Random(seed)
    one, two = chance.sample(NAMES.split(), 2)
    writer = _Writer(chance, (one, two))
    facts = [(person, topic) for topic in TOPICS for person in (one, two)]
    chance.shuffle(facts)
    changes = [fact for fact in facts if fact[1].again][:4]
    told = facts[: max(10, len(facts) * 3 // 4)]
    plan = [(*fact, False) for fact in told] + [(*fact, True) for fact in changes if fact in told]
    sessions = 24
    for number in range(sessions):
        writer.session()
        mine = plan[number * len(plan) // sessions : (number + 1) * len(plan) // sessions]
        share = turns // sessions - 3 * len(mine)
        for person, topic, again in mine:
            writer.small_talk(share // (2 * len(mine)) if mine else 0)
            writer.tell(person, topic, again)
        writer.small_talk(max(1, share // 2 if not mine else 1))
    return Conversation(f"generated-{seed}", writer.turns, list(writer.questions()))


class _Writer:
    """Writes turns down, and remembers which one holds what."""

    def __init__(self, chance: random.Random, people: tuple[str, str]) -> None:
        self.turns: list[Said] = []
        self._chance = chance
        self._people = people
        self._now = 1_672_650_000_000 + chance.randrange(60) * DAY
        self._told: list[tuple[str, Topic, str, Said]] = []
        self._pairs = small_talk()

    def session(self) -> None:
        """Some days later, at another hour."""
        day = (self._now // DAY + self._chance.randrange(6, 20)) * DAY
        self._now = day + self._chance.randrange(8 * 60, 22 * 60) * MINUTE

    def say(self, speaker: str, text: str) -> Said:
        said = Said(f"g{len(self.turns) + 1}", speaker, text, self._now)
        self.turns.append(said)
        self._now += MINUTE
        return said

    def small_talk(self, pairs: int) -> None:
        for _ in range(pairs):
            first, second = self._chance.sample(self._people, 2)
            line, reply = self._chance.choice(self._pairs)
            self.say(first, line)
            self.say(second, reply)

    def tell(self, person: str, topic: Topic, again: bool) -> None:
        """One fact, sometimes as an answer, always with a reaction."""
        [other] = set(self._people) - {person}
        used = {value for who, about, value, _ in self._told if about is topic}
        value = self._chance.choice([value for value in topic.values.split("/") if value not in used])
        if topic.asks and self._chance.random() < 0.4:
            self.say(other, topic.asks)
        text = topic.again if again else self._chance.choice(topic.says)
        self._told.append((person, topic, value, self.say(person, text.format(v=value))))
        self.say(other, self._chance.choice(REACTIONS).format(n=person))

    def questions(self) -> Iterator[Question]:
        end = self._now + 5 * DAY
        last = {(person, topic.values): said for person, topic, _, said in self._told}
        for person, topic, value, said in self._told:
            changed = last[person, topic.values] is not said
            evidence = frozenset(each.id for who, about, _, each in self._told if (who, about) == (person, topic))
            kind = "changed" if len(evidence) > 1 else "fact"
            if not changed:
                text = self._chance.choice(topic.direct).format(n=person)
                yield Question(text, kind, evidence, end)
                text = self._chance.choice(topic.other).format(n=person)
                yield Question(text, "changed" if kind == "changed" else "paraphrase", evidence, end)
            if self._chance.random() < 0.25:
                yield Question(f"When did {person} mention {value}?", "date", frozenset([said.id]), end)
            if self._chance.random() < 0.3:
                yield self._about_a_time(person, said)

    def _about_a_time(self, person: str, said: Said) -> Question:
        """Asked either a week later, or at the end by the month; the evidence is what was told in that time."""
        day = dt.datetime.fromtimestamp(said.at / 1000, dt.UTC)
        if self._chance.random() < 0.5:
            asked = said.at + 7 * DAY
            first = (said.at // DAY - day.weekday()) * DAY
            text, begin, end = f"What news did {person} have last week?", first, first + 7 * DAY
        else:
            asked = self._now + 5 * DAY
            first_day = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            begin = int(first_day.timestamp() * 1000)
            end = int((first_day + dt.timedelta(days=32)).replace(day=1).timestamp() * 1000)
            text = f"What did {person} tell in {day:%B %Y}?"
        mine = [each.id for who, _, _, each in self._told if who == person and begin <= each.at < end]
        return Question(text, "time", frozenset(mine), asked)
