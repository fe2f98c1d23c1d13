# SPDX-License-Identifier: Apache-2.0
from firedamp.context.names import Names
from firedamp.events.model import DnsAnswered, ProcessKey


def answered(name: str, *addresses: str, aliases: tuple[str, ...] = ()) -> DnsAnswered:
    """A name server said so."""
    return DnsAnswered(
        at_ns=1, process=ProcessKey(1, 1), name=name, record_type="A", response_code="NOERROR",
        addresses=addresses, aliases=aliases,
    )  # fmt: skip


def test_address_carries_the_name_that_was_asked_for():
    """
    The newest of several; "" where nobody asked.
    """
    names = Names()
    names.answered(answered("old.example", "192.0.2.1"))
    names.answered(answered("new.example", "192.0.2.1", "192.0.2.2"))

    assert names.of("192.0.2.1") == "new.example"
    assert names.all_of("192.0.2.1") == ("new.example", "old.example")
    assert names.of("192.0.2.2") == "new.example"
    assert names.of("192.0.2.3") == ""
    assert names.all_of("192.0.2.3") == ()


def test_aliases_are_names_of_the_address_too():
    """
    Asked for one thing, led to another: both say something.
    """
    names = Names()
    names.answered(answered("cdn.example", "192.0.2.1", aliases=("pool.example",)))

    assert names.of("192.0.2.1") == "cdn.example"
    assert names.all_of("192.0.2.1") == ("cdn.example", "pool.example")


def test_answer_that_comes_in_parts_leads_back_to_the_question():
    """
    First the alias alone, and the addresses of the alias in the next answer.
    """
    names = Names()
    names.answered(answered("a.example", aliases=("b.example",)))
    names.answered(answered("b.example", aliases=("c.example",)))
    names.answered(answered("c.example", "192.0.2.1"))

    assert names.of("192.0.2.1") == "a.example"
    assert names.all_of("192.0.2.1") == ("a.example", "b.example", "c.example")


def test_few_names_are_kept_for_an_address():
    """
    A content network answers for thousands with one address.
    """
    names = Names()
    for number in range(100):
        names.answered(answered(f"n{number}.example", "192.0.2.1"))

    assert names.all_of("192.0.2.1") == tuple(f"n{number}.example" for number in (99, 98, 97, 96))


def test_addresses_are_bounded():
    """
    The one answered longest ago is forgotten, and counted.
    """
    names = Names(limit=2)
    for last in (1, 2, 1, 3):
        names.answered(answered("n.example", f"192.0.2.{last}"))

    assert [names.of(f"192.0.2.{last}") for last in (1, 2, 3)] == ["n.example", "", "n.example"]
    assert (len(names), names.evicted) == (2, 1)


def test_circle_of_aliases_does_no_harm():
    """
    A name server can say anything.
    """
    names = Names()
    for number in range(200):
        names.answered(
            answered(f"n{number % 3}.example", aliases=(f"n{(number + 1) % 3}.example",))
        )
    names.answered(answered("n0.example", "192.0.2.1"))

    assert len(names.all_of("192.0.2.1")) <= 17
