"""Templates over the facts of a node, and what is tried before one is accepted."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.services.mgmtd.config.checking import check_content
from svcmgr.services.mgmtd.config.document import CONTENT_MAX
from svcmgr.services.mgmtd.config.errors import InvalidConfig
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.kinds import Integer, Text
from svcmgr.services.mgmtd.config.samples import SAMPLES_MAX, samples
from svcmgr.services.mgmtd.config.schema import Key, Schema
from svcmgr.services.mgmtd.config.template import DEPTH_MAX, FACT_MAX, TAGS_MAX, cut

NODE = Facts(7, "host-7", "storage", {"zone": "a", "ssd": "", "odd": 'x"\nauthenticate = false'})
SCHEMA = Schema("storage", (Key("threads", Integer(1, 64), 8, "Threads."), Key("name", Text(), "", "A name.")))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain }} {x = {y = 1}}", "plain }} {x = {y = 1}}"),
        ("{{ node.id }}-{{node.hostname}}-{{  node.type  }}", "7-host-7-storage"),
        ('{{ tag "zone" }} {{ tag "zone" "z" }} {{ tag "rack" "r1" }}|{{ tag "ssd" }}|', "a a r1||"),
        ('{{ "{{" }} {{ "}}" }} {{ "\\"\\\\" }}', '{{ }} "\\'),
        ('{{ if tag "zone" == "a" }}yes{{ else }}no{{ end }}', "yes"),
        ('{{ if tag "zone" != "a" }}yes{{ else }}no{{ end }}', "no"),
        ('{{ if tag "rack" == "" }}yes{{ else }}no{{ end }}', "no"),
        ('{{ if tag "rack" != "x" }}yes{{ end }}', "yes"),
        ('{{ if tag "rack" "x" == "x" }}yes{{ end }}', "yes"),
        ('{{ if tag "ssd" }}yes{{ end }}{{ if tag "rack" }}no{{ end }}', "yes"),
        ('{{ if node.id == "7" }}seven{{ end }}', "seven"),
        (
            '{{ if tag "rack" }}1{{ else if node.hostname == "host-7" }}2{{ else if tag "ssd" }}3{{ else }}4{{ end }}',
            "2",
        ),
        ('{{ if tag "ssd" }}{{ if tag "rack" }}1{{ else }}2{{ end }}{{ else }}3{{ end }}', "2"),
    ],
)
def test_a_template_is_rendered_from_facts(template, text):
    assert cut(template).render(NODE) == text


def test_lines_stay_lines_whatever_is_taken():
    text = 'a = 1\n{{ if tag "rack" }}\nb = 2\n{{ else }}\nc = 3\n{{ end }}\nd = 4\n'
    assert cut(text).render(NODE) == "a = 1\n\n\n\nc = 3\n\nd = 4\n"
    with pytest.raises(InvalidConfig) as caught:
        check_content('name = "x"\n{{ if tag "rack" }}\n\n{{ end }}\nthread = {{ node.id }}\n', SCHEMA)
    assert (caught.value.details["line"], caught.value.details["key"]) == (5, "thread")


@pytest.mark.parametrize(
    ("template", "line", "column"),
    [
        ("\n  {{ node.name }}", 2, 3),
        ("{{ }}", 1, 1),
        ("{{ node.id", 1, 1),
        ("{{ node.id\n}}", 1, 1),
        ('a {{ "b }}', 1, 3),
        ("{{ tag zone }}", 1, 1),
        ('{{ tag "zone" "a" "b" }}', 1, 1),
        ('{{ "a" "b" }}', 1, 1),
        ('{{ "\\n" }}', 1, 1),
        ('{{ if "a" == "a" }}{{ end }}', 1, 1),
        ("{{ if node.id }}{{ end }}", 1, 1),
        ('{{ if tag "a" = "b" }}{{ end }}', 1, 1),
        ('{{ if tag "a" == tag "b" }}{{ end }}', 1, 1),
        ('\n{{ if tag "a" }}', 2, 1),
        ("{{ end }}", 1, 1),
        ("{{ else }}", 1, 1),
        ('{{ if tag "a" }}{{ else }}{{ else }}{{ end }}', 1, 27),
        ('{{ if tag "a" }}{{ else }}{{ else if tag "b" }}{{ end }}', 1, 27),
        ("{{ for x }}", 1, 1),
        ("{{ node.tags }}", 1, 1),
        ("{{ node.__class__ }}", 1, 1),
        ('{{ if tag "a" }}' * (DEPTH_MAX + 1), 1, 16 * DEPTH_MAX + 1),
        ("{{ node.id }}" * (TAGS_MAX + 1), 1, 13 * TAGS_MAX + 1),
    ],
)
def test_a_tag_that_is_none_is_refused_with_its_place(template, line, column):
    with pytest.raises(InvalidConfig) as caught:
        cut(template)
    assert (caught.value.details["line"], caught.value.details["column"]) == (line, column)


@pytest.mark.parametrize("text", ["{{" * 100_000, '{{ "' * 60_000, "{{ x" + " " * 200_000 + "}}", "{{ }" * 60_000])
def test_hostile_templates_are_refused_soon(text):
    began = time.perf_counter()
    with pytest.raises(InvalidConfig):
        cut(text)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "value", ['"', "'", "\\", "\n", "a#", "[", "{", "=", ",", "\x00", "\u2028", "x" * (FACT_MAX + 1)]
)
def test_a_fact_cannot_become_another_key(value):
    with pytest.raises(InvalidConfig) as caught:
        cut('\nname = "{{ tag "odd" }}"').render(Facts(1, "h", "storage", {"odd": value}))
    assert caught.value.details["line"] == 2


def test_a_tag_that_the_node_does_not_have_is_a_fault():
    with pytest.raises(InvalidConfig) as caught:
        cut('{{ tag "rack" }}').render(NODE)
    assert caught.value.details["missing_tag"] == "rack"


def test_what_is_rendered_is_bounded():
    text = cut('{{ tag "long" }}' * 1_000)
    with pytest.raises(InvalidConfig):
        text.render(Facts(1, "h", "storage", {"long": "x" * FACT_MAX}))
    assert CONTENT_MAX < 1_000 * FACT_MAX


# --- what is accepted ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "threads = 4",
        'name = "{{ node.hostname }}-{{ node.id }}"',
        'threads = {{ tag "threads" "4" }}',
        '{{ if tag "threads" }}threads = {{ tag "threads" }}{{ end }}',
        '{{ if tag "x" == "a" }}threads = 1{{ end }}\n{{ if tag "x" != "a" }}threads = 2{{ end }}',
        '{{ if node.type == "storage" }}threads = 1{{ else }}nonsense{{ end }}',
    ],
)
def test_a_template_is_accepted_when_every_node_that_can_be_foreseen_could_use_it(content):
    check_content(content, SCHEMA)


@pytest.mark.parametrize(
    "content",
    [
        "thread = 4",
        'threads = {{ tag "threads" "none" }}',
        '{{ if tag "x" == "a" }}thread = 1{{ end }}',
        '{{ if tag "x" }}{{ else }}thread = 1{{ end }}',
        '{{ if tag "x" == "a" }}{{ if tag "y" == "b" }}{{ if tag "z" }}thread = 1{{ end }}{{ end }}{{ end }}',
        '{{ if tag "x" == "a" }}threads = 1{{ end }}\n{{ if tag "y" == "a" }}threads = 2{{ end }}',
        'threads = {{ tag "threads" }}',
    ],
)
def test_a_template_is_refused_when_some_node_could_not_use_it(content):
    with pytest.raises(InvalidConfig):
        check_content(content, SCHEMA)


def test_the_nodes_that_are_there_are_tried_and_named():
    content = 'threads = {{ tag "threads" }}'
    good, bad = (Facts(number, "h", "storage", {"threads": text}) for number, text in ((1, "4"), (2, "many")))
    other = Facts(3, "h", "meta", {"threads": "many"})
    check_content(content, SCHEMA, [good, other])
    for nodes in ([good, bad], [good, Facts(2, "h", "storage")]):
        with pytest.raises(InvalidConfig) as caught:
            check_content(content, SCHEMA, nodes)
        assert caught.value.details["node"] == 2


def test_many_conditions_are_tried_up_to_a_limit_and_pairs_come_early():
    text = "".join(f'{{{{ if tag "t{number}" == "x" }}}}{{{{ end }}}}' for number in range(12))
    tried = samples(cut(text), "storage")
    assert len(tried) == SAMPLES_MAX
    assert tried[0].tags == {}
    assert all(any(facts.tags == {f"t{number}": "x"} for facts in tried) for number in range(12))


@given(st.text(alphabet='ab{}" =!\n', max_size=40).map(lambda text: text.replace("a", "{{").replace("b", 'tag "x"')))
def test_any_text_is_cut_or_refused_with_its_line(text):
    line, newlines = 1, text.count("\n")
    try:
        newlines = cut(text).render(NODE).count("\n")
    except InvalidConfig as error:
        line = error.details["line"]
    assert newlines == text.count("\n")
    assert 1 <= line <= newlines + 1


PIECES = st.recursive(
    st.sampled_from(["x\n", "y", '{{ tag "zone" }}', "{{ node.id }}"]),
    lambda inner: (
        st.builds(
            '{{{{ if tag "{}" == "{}" }}}}{}{{{{ else }}}}{}{{{{ end }}}}'.format,
            st.sampled_from(["zone", "rack"]),
            st.sampled_from(["a", "b"]),
            inner,
            inner,
        )
        | st.builds("{}{}".format, inner, inner)
    ),
    max_leaves=12,
)


@given(PIECES, st.sampled_from(["a", "b", "c"]))
def test_a_rendering_has_the_lines_of_its_template(text, zone):
    rendered = cut(text).render(Facts(1, "h", "storage", {"zone": zone}))
    assert rendered.count("\n") == text.count("\n")
    assert "{{" not in rendered
