import pytest

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.errors import (
    InvalidExpression,
    InvalidQuery,
    MalformedQuery,
    UnknownAttribute,
    UnsupportedQuery,
)
from strongroom.visibility.fields import BUILT_IN, NOT_SEARCHABLE
from strongroom.visibility.filter.parser import (
    MAX_FILTER_BYTES,
    MAX_NESTING,
    MAX_SYNTAX_BYTES,
    MAX_TERMS,
    SCHEDULER_ARCHETYPE_ID,
    parse_filter,
)
from strongroom.visibility.filter.tree import (
    And,
    Attribute,
    Between,
    Compare,
    In,
    IsNull,
    ListFilter,
    Not,
    Or,
    Order,
    StartsWith,
)

LOW_CARDINALITY = "TemporalLowCardinalityKeyword01"
CUSTOM = {
    "Customer": AttributeType.KEYWORD,
    "Tags": AttributeType.KEYWORD_LIST,
    "Notes": AttributeType.TEXT,
    "Count": AttributeType.INT,
    "Price": AttributeType.DOUBLE,
    "Paid": AttributeType.BOOL,
    "Due": AttributeType.DATETIME,
    "order-no `1`": AttributeType.KEYWORD,
    "Order": AttributeType.KEYWORD,
    "Limit": AttributeType.INT,
    LOW_CARDINALITY: AttributeType.KEYWORD,
    "WorkflowId": AttributeType.INT,  # can't be redefined
}
KEYWORD, TAGS, NOTES, COUNT, PRICE, PAID, DUE = (Attribute(name, kind) for name, kind in list(CUSTOM.items())[:7])
DIVISION = Attribute("TemporalNamespaceDivision", AttributeType.KEYWORD)
STATUS = Attribute("ExecutionStatus", AttributeType.KEYWORD)
WORKFLOW = Attribute("WorkflowId", AttributeType.KEYWORD)


def where(text):
    """Return the condition, without the implicit clause, which must be there."""
    condition = parse_filter(text, CUSTOM).where
    assert isinstance(condition, And)
    given, implicit = condition.items
    assert implicit == IsNull(DIVISION)
    return given


def failure(text):
    with pytest.raises(InvalidQuery) as caught:
        parse_filter(text, CUSTOM)
    return caught.value


@pytest.mark.parametrize("text", ["", " \n\t", "\u00a0\u2003", "\v\f"])
def test_a_blank_filter_asks_for_the_default_division(text):
    """A blank filter is legal and keeps the implicit clause. Blanks of Unicode come with copied texts."""
    assert parse_filter(text) == ListFilter(IsNull(DIVISION))


@pytest.mark.parametrize(
    "text",
    [";", " ; ", "-- all", "--", "# all", "// all", "/* all */", "/**/", " /**/ ; -- x\n", "-- x\nORDER BY StartTime"],
)
def test_a_filter_of_only_a_comment_is_refused(text):
    """A condition that a comment swallowed must not list everything."""
    with pytest.raises(MalformedQuery, match="no condition"):
        parse_filter(text)


@pytest.mark.parametrize("comment", ["-- x\n", "# x\n", "// x\n", "/* x */", "/* \n */", "--\n", "#\n"])
def test_comments_stand_anywhere_between_words(comment):
    """The four comments of Temporal mean a blank."""
    expected = parse_filter("Customer = 'x' ORDER BY StartTime", CUSTOM)
    words = ("", "Customer ", "= ", "'x' ", "ORDER BY StartTime ", ";")
    for place in range(1, len(words)):
        assert parse_filter("".join(words[:place]) + comment + "".join(words[place:]), CUSTOM) == expected


def test_a_comment_that_mysql_executes_is_refused():
    """Temporal reads the text of such a comment as a part of the filter. To ignore it would drop a condition."""
    with pytest.raises(UnsupportedQuery, match="MySQL") as caught:
        parse_filter("Customer = 'x' /*! AND Customer = 'y' */", CUSTOM)
    assert caught.value.position == 15


def test_a_word_of_true_or_false_is_a_text_for_a_text():
    """Elasticsearch compares a text with the word. Numbers and times take no TRUE."""
    assert parse_filter("Customer = TRUE", CUSTOM).where.items[0] == Compare(KEYWORD, "=", "true")
    for refused in (
        "Count = TRUE",
        "Price > FALSE",
        "Due = TRUE",
        "ExecutionDuration = TRUE",
        "Customer STARTS_WITH TRUE",
    ):
        with pytest.raises(InvalidExpression):
            parse_filter(refused, CUSTOM)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("ScheduleId = 'daily'", Compare(WORKFLOW, "=", "temporal-sys-scheduler:daily")),
        ("`ScheduleId` > 'daily'", Compare(WORKFLOW, ">", "temporal-sys-scheduler:daily")),
        ("ScheduleId IN ('a', 'b')", In(WORKFLOW, ("temporal-sys-scheduler:a", "temporal-sys-scheduler:b"))),
        ("ScheduleId STARTS_WITH ''", StartsWith(WORKFLOW, "temporal-sys-scheduler:")),
        ("ScheduleId IS NULL", IsNull(WORKFLOW)),
        ("TemporalScheduleId = 'daily'", Compare(WORKFLOW, "=", "daily")),
        ("WorkflowId = 'daily'", Compare(WORKFLOW, "=", "daily")),
    ],
)
def test_the_id_of_a_schedule_is_found_by_its_workflow(text, where):
    """ScheduleId is the workflow id without its prefix, so values get the prefix. TemporalScheduleId is the workflow id."""
    assert parse_filter(text).where.items[0] == where


def test_a_name_may_have_parts():
    """A registered name with dots needs no back-quotes."""
    assert parse_filter("a.b.c = 'x'", {"a.b.c": AttributeType.KEYWORD}).where.items[0].value == "x"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("Customer = 'x'", Compare(KEYWORD, "=", "x")),
        ('Customer = "x"', Compare(KEYWORD, "=", "x")),
        ("Customer != 'x'", Not(Compare(KEYWORD, "=", "x"))),
        ("Customer <> 'x'", Not(Compare(KEYWORD, "=", "x"))),
        ("Customer < 'x'", Compare(KEYWORD, "<", "x")),
        ("Customer<='x'", Compare(KEYWORD, "<=", "x")),
        ("Customer > 'x'", Compare(KEYWORD, ">", "x")),
        ("Customer>='x'", Compare(KEYWORD, ">=", "x")),
        ("Customer IN ('x')", In(KEYWORD, ("x",))),
        ("Customer in('x','y','x')", In(KEYWORD, ("x", "y", "x"))),
        ("Customer NOT IN ('x', 'y')", Not(In(KEYWORD, ("x", "y")))),
        ("Customer STARTS_WITH 'x'", StartsWith(KEYWORD, "x")),
        ("Customer Not Starts_With ''", Not(StartsWith(KEYWORD, ""))),
        ("Customer BETWEEN 'x' AND 'y'", Between(KEYWORD, "x", "y")),
        ("Customer between 'y' and 'x'", Between(KEYWORD, "y", "x")),
        ("Customer NOT BETWEEN 'x' && 'y'", Not(Between(KEYWORD, "x", "y"))),
        ("Customer IS NULL", IsNull(KEYWORD)),
        ("Customer is not null", Not(IsNull(KEYWORD))),
        ("Tags = 'x'", Compare(TAGS, "=", "x")),
        ("Tags NOT IN ('x')", Not(In(TAGS, ("x",)))),
        ("Notes = 'two words'", Compare(NOTES, "=", "two words")),
        ("Notes != ''", Not(Compare(NOTES, "=", ""))),
        ("Notes IS NULL", IsNull(NOTES)),
        ("Count = 1", Compare(COUNT, "=", 1)),
        ("Count < 1.5", Compare(COUNT, "<", 1.5)),
        ("Count IN (1, -2, - 3)", In(COUNT, (1, -2, -3))),
        ("Count BETWEEN -5 AND +5", Between(COUNT, -5, 5)),
        ("Price > -1.5", Compare(PRICE, ">", -1.5)),
        ("Price BETWEEN -1.5 AND -.5", Between(PRICE, -1.5, -0.5)),
        ("Price IN (-1e-3, 1.)", In(PRICE, (-0.001, 1.0))),
        ("Paid = true", Compare(PAID, "=", True)),
        ("Paid != FALSE", Not(Compare(PAID, "=", False))),
        ("Paid >= False", Compare(PAID, ">=", False)),
        ("Paid IN (true, false)", In(PAID, (True, False))),
        ("Due > '1970-01-01T00:00:00.000000001Z'", Compare(DUE, ">", 1)),
        ("Due BETWEEN 1 AND '1970-01-01T00:00:01Z'", Between(DUE, 1, 10**9)),
        ("ExecutionStatus = 'Running'", Compare(STATUS, "=", "Running")),
        (
            "ExecutionStatus IN ('Running', 2, 'WORKFLOW_EXECUTION_STATUS_FAILED')",
            In(STATUS, ("Running", "Completed", "Failed")),
        ),
        ("ExecutionStatus NOT IN (7)", Not(In(STATUS, ("TimedOut",)))),
        ("Customer = 'ends'''", Compare(KEYWORD, "=", "ends'")),
        ("Customer = '''starts'", Compare(KEYWORD, "=", "'starts")),
        (r"Customer = 'o\'hara'", Compare(KEYWORD, "=", "o'hara")),
        ("Customer = 'a -- b /* c */ ; AND'", Compare(KEYWORD, "=", "a -- b /* c */ ; AND")),
        ("`Customer` = 'x'", Compare(KEYWORD, "=", "x")),
        ("`order-no ``1``` = 'x'", Compare(Attribute("order-no `1`", AttributeType.KEYWORD), "=", "x")),
        ("`Order` = 'x'", Compare(Attribute("Order", AttributeType.KEYWORD), "=", "x")),
        ("Limit = 1", Compare(Attribute("Limit", AttributeType.INT), "=", 1)),
        ("Customer /* why */ = -- because\n 'x' ;", Compare(KEYWORD, "=", "x")),
    ],
)
def test_conditions(text, tree):
    """Each form of a condition is read, with its negation taken out and its values in their final form."""
    assert where(text) == tree
    assert where(f"({text.rstrip(' ;')})") == tree


A, B, C = (Compare(COUNT, "=", value) for value in (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("Count=1 AND Count=2", And((A, B))),
        ("Count=1 && Count=2 and Count=3", And((A, B, C))),
        ("Count=1 || Count=2 or Count=3", Or((A, B, C))),
        ("Count=1 OR Count=2 AND Count=3", Or((A, And((B, C))))),
        ("Count=1 AND Count=2 OR Count=3", Or((And((A, B)), C))),
        ("(Count=1 OR Count=2) AND Count=3", And((Or((A, B)), C))),
        ("Count=1 AND (Count=2 AND Count=3)", And((A, And((B, C))))),
        ("NOT Count=1 AND Count=2", And((Not(A), B))),
        ("NOT (Count=1 AND Count=2)", Not(And((A, B)))),
        ("NOT NOT Count=1", Not(Not(A))),
        ("NOT Count != 1", Not(Not(A))),
        ("NOT Count BETWEEN 1 AND 2 AND Count=3", And((Not(Between(COUNT, 1, 2)), C))),
        ("Count=1 AND Count BETWEEN 1 AND 2 AND Count=3", And((A, Between(COUNT, 1, 2), C))),
        ("Count BETWEEN 1 AND 2 OR Count=3", Or((Between(COUNT, 1, 2), C))),
        ("((Count=1))", A),
    ],
)
def test_precedence(text, tree):
    """OR binds loosest, then AND, then NOT, then the AND of a BETWEEN."""
    assert where(text) == tree


@pytest.mark.parametrize(
    ("name", "canonical"),
    [(name, name) for name in BUILT_IN if name != DIVISION.name]
    + [("ScheduleId", "WorkflowId"), ("TemporalScheduleId", "WorkflowId"), ("TemporalWorkflowType", "WorkflowType")]
    + [("SchedulePaused", "TemporalSchedulePaused"), ("TemporalCustomer", "Customer")],
)
def test_names(name, canonical):
    """Built-in names are always known, also in Temporal's other spellings, and a custom name hides none of them."""
    kind = BUILT_IN[canonical].type if canonical in BUILT_IN else CUSTOM[canonical]
    assert where(f"{name} IS NULL") == IsNull(Attribute(canonical, kind))


def test_a_registered_name_comes_before_an_alias():
    """ScheduleId means WorkflowId only where the namespace did not register the name itself."""
    own = parse_filter("ScheduleId = 'x'", {"ScheduleId": AttributeType.KEYWORD}).where
    assert isinstance(own, And)
    assert own.items[0] == Compare(Attribute("ScheduleId", AttributeType.KEYWORD), "=", "x")


@pytest.mark.parametrize("name", sorted(NOT_SEARCHABLE))
def test_reserved_names(name):
    """A reserved name is refused even where it was registered, under either spelling."""
    for spelling in (name, f"Temporal{name}", f"`{name}`"):
        with pytest.raises(InvalidExpression, match=f"{name} is reserved") as caught:
            parse_filter(f"{spelling} = 'x'", {name: AttributeType.KEYWORD})
        assert not isinstance(caught.value, UnknownAttribute)


@pytest.mark.parametrize(
    "name", ["customer", "Custom", "workflowid", "TemporalTemporalCustomer", "Kunde", "\u017ftatus"]
)
def test_unknown_names(name):
    """Names are case sensitive; what is not known is an error at its position."""
    error = failure(f"Count = 1 AND `{name}` = 'x'")
    assert type(error) is UnknownAttribute
    assert error.position == 14


def test_close_names_are_suggested():
    """The error on an unknown name suggests system names, whatever their case; a registered name is a tenant's."""
    assert "did you mean WorkflowType" in str(failure("WORKFLOWTYPE = 'x'"))
    assert "Customer" not in str(failure("Custmer = 'x'"))
    assert "Customer" not in str(failure("Customer = 5"))
    assert "register it" in str(failure("zzzzzz = 'x'"))


@pytest.mark.parametrize(
    "text",
    [
        "TemporalNamespaceDivision = 'x'",
        "NamespaceDivision IS NULL",
        "TemporalNamespaceDivision IS NULL OR TemporalNamespaceDivision IS NOT NULL",
        "Count = 1 AND NOT (Count = 2 OR TemporalNamespaceDivision IN ('x'))",
    ],
)
def test_a_named_division_replaces_the_implicit_clause(text):
    """A filter that names the division anywhere is left as it is."""
    condition = parse_filter(text, CUSTOM).where
    if isinstance(condition, And):
        assert IsNull(DIVISION) not in condition.items


def test_a_grouped_division_replaces_the_implicit_clause():
    """Grouping by the division counts the runs of all divisions."""
    assert parse_filter("Count = 1 GROUP BY TemporalNamespaceDivision", CUSTOM) == ListFilter(A, (), DIVISION)
    assert parse_filter("GROUP BY TemporalNamespaceDivision") == ListFilter(And(()), (), DIVISION)
    assert parse_filter("ORDER BY TemporalNamespaceDivision").where == IsNull(DIVISION)


def test_order_by():
    """ORDER BY takes a list of attributes of any type but Text, each with its direction; ascending is the default."""
    parsed = parse_filter("Count = 1 order by Due desc, `Order` ASC, Paid;", CUSTOM)
    keyword = Attribute("Order", AttributeType.KEYWORD)
    assert parsed.order_by == (Order(DUE, True), Order(keyword, False), Order(PAID, False))
    assert parse_filter("ORDER BY StartTime").where == IsNull(DIVISION)
    assert isinstance(failure("ORDER BY Due, Notes"), UnsupportedQuery)


def test_group_by():
    """GROUP BY takes one attribute of few values, and nothing else. Temporal's own tests look for these parts of the messages."""
    assert "'GROUP BY' clause is only supported for" in str(failure("GROUP BY WorkflowType"))
    assert "'GROUP BY' clause supports only a single field" in str(failure("GROUP BY ExecutionStatus, WorkflowType"))
    assert parse_filter("group by ExecutionStatus").group_by == STATUS
    assert parse_filter(f"GROUP BY {LOW_CARDINALITY}", CUSTOM).group_by == Attribute(
        LOW_CARDINALITY, AttributeType.KEYWORD
    )
    ordered = parse_filter("GROUP BY ExecutionStatus ORDER BY Count DESC", CUSTOM)
    assert (ordered.group_by, [key.attribute.name for key in ordered.order_by]) == (STATUS, ["Count"])
    for refused in ("Customer", "WorkflowType", "ExecutionStatus, ExecutionStatus", "ExecutionStatus ORDER BY Notes"):
        assert isinstance(failure(f"GROUP BY {refused}"), UnsupportedQuery)
    with pytest.raises(UnsupportedQuery):
        parse_filter(f"GROUP BY {LOW_CARDINALITY}", {LOW_CARDINALITY: AttributeType.INT})


FITTING = {
    "Customer": ("= != < <= > >= IN BETWEEN STARTS_WITH", "'x'"),
    "Tags": ("= != IN", "'x'"),
    "Notes": ("= !=", "'x'"),
    "Count": ("= != < <= > >= IN BETWEEN", "1"),
    "Price": ("= != < <= > >= IN BETWEEN", "-1.5"),
    "Paid": ("= != < <= > >= IN", "true"),
    "Due": ("= != < <= > >= IN BETWEEN", "1"),
}


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("operator", ["=", "!=", "<>", "<", "<=", ">", ">=", "IN", "BETWEEN", "STARTS_WITH"])
@pytest.mark.parametrize("negation", ["", "NOT "])
def test_operators_by_type(name, operator, negation):
    """Temporal's table of operators and types holds, negated or not; a refusal lists the operators that do fit."""
    fitting, value = FITTING[name]
    operand = {"IN": f"({value})", "BETWEEN": f"{value} AND {value}"}.get(operator, value)
    text = f"{name} {negation}{operator} {operand}" if operator.isupper() else f"{negation}{name} {operator} {operand}"
    if operator.replace("<>", "!=") in fitting.split():
        assert where(text)
    else:
        error = failure(text)
        assert type(error) is InvalidExpression
        assert error.position == text.index(name)
        assert f"use {', '.join(fitting.split())}" in str(error).replace(
            "IN, BETWEEN, IS NULL, STARTS_WITH", "IN, BETWEEN, STARTS_WITH"
        )


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("Count = 1 AND Count = 'x'", 22),
        ("Count IN (1, 'x')", 13),
        ("Count BETWEEN 1 AND true", 20),
        ("Customer STARTS_WITH 5", 21),
        ("ExecutionStatus = 'running'", 18),
        ("ExecutionDuration > '1 hour'", 20),
        ("Due > '2026-01-01'", 6),
        ("Price = 1e999", 8),
    ],
)
def test_values_that_do_not_fit(text, position):
    """A value that does not fit is refused at its own position."""
    error = failure(text)
    assert type(error) is InvalidExpression
    assert error.position == position


def test_limit_on_length():
    """The longest legal filter is measured in bytes of UTF-8; one byte more is refused and the limit named."""
    frame = len("Customer = ''")
    assert where(f"Customer = '{'x' * (MAX_FILTER_BYTES - frame)}'")
    assert where(f"Customer = '{'é' * ((MAX_FILTER_BYTES - frame) // 2)}'")
    for filling in ("x" * (MAX_FILTER_BYTES - frame + 1), "é" * ((MAX_FILTER_BYTES - frame) // 2 + 1)):
        error = failure(f"Customer = '{filling}'")
        assert isinstance(error, UnsupportedQuery)
        assert str(MAX_FILTER_BYTES) in str(error)


@pytest.mark.parametrize("opening", ["", "-- '\n", "/* ' */", "`'` = 1 OR ", '# "\n', "Customer = 'it''s \\' so' OR "])
def test_limit_on_length_outside_of_strings(opening):
    """Only real strings may be long: text after a quote in a comment or a quoted name counts, so that a parse stays short."""
    hidden = opening + "(" * (MAX_SYNTAX_BYTES + 1) + "'\""
    error = failure(hidden)
    assert isinstance(error, UnsupportedQuery)
    assert str(MAX_SYNTAX_BYTES) in str(error)


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("NOT ", ""), ("NOT (Paid = true OR ", ")")])
def test_limit_on_nesting(opening, closing):
    """Parentheses and NOTs may be nested up to the limit; the one beyond it is refused at its place."""
    levels = MAX_NESTING // (opening.count("(") + opening.count("NOT"))
    assert where(opening * levels + "Count = 1" + closing * levels)
    error = failure(opening * (levels + 1) + "Count = 1" + closing * (levels + 1))
    assert isinstance(error, UnsupportedQuery)
    assert str(MAX_NESTING) in str(error)
    assert error.position == len(opening) * levels


def test_limit_on_terms():
    """Conditions, each value of an IN and each key of ORDER BY count as one term."""
    values = ",".join("1" * (MAX_TERMS - 2))
    assert parse_filter(f"Count IN ({values}) AND Count = 1 ORDER BY Count", CUSTOM)
    for text in (
        f"Count IN ({values}, 1) AND Count = 1 ORDER BY Count",
        f"Count IN ({values}) AND Count = 1 AND Count IS NULL ORDER BY Count",
        f"Count IN ({values}) AND Count = 1 ORDER BY Count, Count",
    ):
        error = failure(text)
        assert isinstance(error, UnsupportedQuery)
        assert str(MAX_TERMS) in str(error)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", Compare(DIVISION, "=", "403648407")),
        ("Customer = 'x'", And((Compare(KEYWORD, "=", "x"), Compare(DIVISION, "=", "403648407")))),
        (
            "TemporalSystemExecutionStatus = 'Running'",
            And((Compare(STATUS, "=", "Running"), Compare(DIVISION, "=", "403648407"))),
        ),
        ("TemporalNamespaceDivision IS NULL", IsNull(DIVISION)),
        ("Paused = TRUE", And((Compare(PAID, "=", True), Compare(DIVISION, "=", "403648407")))),
    ],
)
def test_the_default_division_of_an_archetype_is_its_number(text, where):
    """A list of CHASM's executions has attributes of its component by their aliases, and is in the division of its archetype."""
    aliases = {**CUSTOM, "Paused": PAID}
    assert parse_filter(text, aliases, archetype_id=SCHEDULER_ARCHETYPE_ID).where == where


@pytest.mark.parametrize("archetype_id", [0, 7, 2_918_170_192])
def test_the_status_of_a_schedule_is_known_to_its_archetype_alone(archetype_id):
    """Other lists have no TemporalSystemExecutionStatus, as in Temporal."""
    with pytest.raises(UnknownAttribute):
        parse_filter("TemporalSystemExecutionStatus = 'Running'", archetype_id=archetype_id)


def test_an_alias_of_an_archetype_comes_before_a_system_attribute():
    """CHASM's components have an ExecutionStatus of their own. A list of workflows never has it, whatever the caller sends."""
    own = Attribute("TemporalLowCardinalityKeyword01", AttributeType.KEYWORD)
    text, aliases = "ExecutionStatus = 'Frozen' GROUP BY ExecutionStatus", {"ExecutionStatus": own}
    parsed = parse_filter(text, aliases, archetype_id=7)
    assert parsed.where == And((Compare(own, "=", "Frozen"), Compare(DIVISION, "=", "7")))
    assert parsed.group_by == own
    with pytest.raises(InvalidExpression):
        parse_filter(text, aliases)
