//! What is proposed fits what was seen, in whatever order; and what the rules make of it.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Inference, MAX_PLACES, Proposal};
use crate::{Format, JsonSchema, Schema, Shape};

fn text() -> impl Strategy<Value = Value> {
    let words = vec![
        "",
        "EWR",
        "JFK",
        "a b c d",
        "2013-01-01",
        "2013-01-01T10:00:00Z",
        "2013-01-01T10:00:00.5",
        "12:00:01",
        "12:00:01Z",
        "2013-01-01T23:59:60Z",
        "a@b.co",
        "10.0.0.1",
        "::1",
        "urn://x",
        "é",
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
    ];
    prop::sample::select(words).prop_map(Value::from)
}

fn document() -> impl Strategy<Value = Value> {
    let numbers = vec![0.5, -0.0, 0.0, 1.0, 1e300, -2.5];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..9).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(numbers).prop_map(Value::from),
        text(),
    ];
    let names = prop_oneof!["[a-d]", "[a-d]", Just("x/~y".to_owned()), "[a-z]{2}"];
    scalar.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn observed<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Inference {
    let mut inference = Inference::default();
    for document in documents {
        inference
            .observe(document.to_string().as_bytes())
            .expect("JSON");
    }
    inference
}

fn same(a: &Proposal, b: &Proposal) {
    assert_eq!(a.json_schema, b.json_schema);
    assert_eq!(a.shape, b.shape);
    assert_eq!(a.evidence, b.evidence);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_seen_fits(documents in prop::collection::vec(document(), 1..12), times in 1_usize..120) {
        let many = std::iter::repeat_n(&documents, times).flatten();
        let proposal = observed(many).proposal("thing");
        let schema = JsonSchema::compile(&proposal.json_schema, &[]).expect("a schema");
        for document in &documents {
            prop_assert_eq!(schema.check(document), Ok(()), "{}", proposal.json_schema);
        }
    }

    #[test]
    fn order_and_pieces_do_not_matter(
        documents in prop::collection::vec(document(), 1..40),
        cuts in (0_usize..40, 0_usize..40),
        times in 1_usize..8,
    ) {
        let documents: Vec<&Value> = std::iter::repeat_n(&documents, times).flatten().collect();
        let straight = observed(documents.iter().copied());
        let backwards = observed(documents.iter().rev().copied());
        let (a, b) = (cuts.0.min(documents.len()), cuts.1.min(documents.len()));
        let (a, b) = (a.min(b), a.max(b));
        let piece = |from: usize, to: usize| observed(documents[from..to].iter().copied());
        let mut left = piece(0, a);
        left.merge(piece(a, b));
        left.merge(piece(b, documents.len()));
        let mut right = piece(b, documents.len());
        right.merge(piece(a, b));
        let mut first = piece(0, a);
        first.merge(right);
        for other in [backwards, left, first] {
            same(&straight.proposal("thing"), &other.proposal("thing"));
        }
    }
}

#[test]
fn many_names_are_a_map_in_any_order() {
    let wide = |from: usize| {
        let members = (from..from + 200).map(|at| (format!("k{at}"), json!({ "a": at })));
        Value::Object(members.collect())
    };
    let documents = [
        wide(0),
        json!({ "k1": { "b": 1 } }),
        wide(100),
        json!({}),
        wide(50),
    ];
    let straight = observed(&documents).proposal("x");
    same(&straight, &observed(documents.iter().rev()).proposal("x"));
    let mut pieces = observed(&documents[3..]);
    pieces.merge(observed(&documents[..3]));
    same(&straight, &pieces.proposal("x"));
    assert!(
        straight.json_schema.contains("additionalProperties"),
        "{}",
        straight.json_schema
    );
}

/// Documents made to be remembered: names that never repeat, on every level.
#[test]
fn memory_is_bounded() {
    let mut inference = Inference::default();
    for round in 0..8 {
        let leaf =
            |at: usize| json!({ format!("c{round}-{at}"): "x".repeat(100), "y": [[[round]]] });
        let inner = |at: usize| {
            let members = (0..200).map(|key| (format!("b{key}"), leaf(at + key)));
            Value::Object(members.collect())
        };
        let document: serde_json::Map<_, _> = (0..40)
            .map(|at| (format!("a{}", at + round), inner(at)))
            .collect();
        inference
            .observe(Value::from(document).to_string().as_bytes())
            .expect("JSON");
        assert!(inference.top.places() <= MAX_PLACES * 2);
    }
    inference.settle();
    assert!(inference.top.places() <= MAX_PLACES);
    let proposal = inference.proposal("x");
    JsonSchema::compile(&proposal.json_schema, &[]).expect("a schema");
}

#[test]
fn what_is_no_json_changes_nothing() {
    let mut inference = observed(&[json!({ "a": 1 })]);
    for payload in [&b"{"[..], b"", b"\xff", b"{\"a\":1} x", b"NaN"] {
        assert!(inference.observe(payload).is_err());
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(inference.observe(deep.as_bytes()).is_err());
    assert_eq!(inference.count(), 1);
}

/// A property a line.
fn check(documents: &[Value], expected: Expect) {
    let proposal = observed(documents).proposal("flight");
    let mut schema: Value = serde_json::from_str(&proposal.json_schema).expect("JSON");
    let mut lines = String::new();
    if let Some(Value::Object(properties)) = schema.get_mut("properties").map(Value::take) {
        for (name, property) in properties {
            lines += &format!("{name}: {property}\n");
        }
    }
    expected.assert_eq(&format!("{lines}{schema}\n"));
}

fn flights(count: u32) -> Vec<Value> {
    let one = |at: u32| {
        let carrier = ["UA", "AA", "B6"][at as usize % 3];
        let mut flight = json!({
            "time": format!("2013-01-{:02}T10:00:00Z", at % 28 + 1),
            "month": at % 12 + 1,
            "carrier": carrier,
            "tailnum": format!("N{at}"),
            "delay": if at.is_multiple_of(7) { Value::Null } else { json!(i64::from(at) - 5) },
            "distance": at * 10,
            "hours": f64::from(at) / 4.0,
            "id": u64::from(at) + (1 << 40),
        });
        if at.is_multiple_of(2) {
            let terminal = if at.is_multiple_of(4) { "A" } else { "B" };
            flight["gate"] = json!({ "terminal": terminal, "legs": [{ "to": "SFO" }, {}] });
        }
        flight
    };
    (0..count).map(one).collect()
}

#[test]
fn flights_are_understood() {
    check(
        &flights(240),
        expect![[r#"
        time: {"type":"string","format":"date-time"}
        month: {"type":"integer","minimum":1,"maximum":12}
        carrier: {"type":"string","enum":["AA","B6","UA"]}
        tailnum: {"type":"string"}
        delay: {"type":["integer","null"]}
        distance: {"type":"integer","minimum":0}
        hours: {"type":"number","minimum":0}
        id: {"type":"integer","minimum":0}
        gate: {"type":"object","properties":{"terminal":{"type":"string","enum":["A","B"]},"legs":{"type":"array","items":{"type":"object","properties":{"to":{"type":"string"}}}}},"required":["terminal","legs"]}
        {"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Flight","type":"object","properties":null,"required":["time","month","carrier","tailnum","delay","distance","hours","id"]}
    "#]],
    );
}

#[test]
fn little_evidence_makes_few_rules() {
    check(
        &flights(2),
        expect![[r#"
        time: {"type":"string","format":"date-time"}
        month: {"type":"integer"}
        carrier: {"type":"string"}
        tailnum: {"type":"string"}
        delay: {"type":["integer","null"]}
        distance: {"type":"integer"}
        hours: {"type":"number"}
        id: {"type":"integer"}
        gate: {"type":"object","properties":{"terminal":{"type":"string"},"legs":{"type":"array","items":{"type":"object","properties":{"to":{"type":"string"}}}}},"required":["terminal","legs"]}
        {"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Flight","type":"object","properties":null,"required":["time","month","carrier","tailnum","delay","distance","hours","id"]}
    "#]],
    );
}

#[test]
fn mixed_types_are_alternatives() {
    check(
        &[
            json!({ "a": 1 }),
            json!({ "a": "x" }),
            json!({ "a": null }),
            json!([1.5, 2]),
        ],
        expect![[r#"
            {"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Flight","anyOf":[{"type":"array","items":{"type":"number"}},{"type":"object","properties":{"a":{"anyOf":[{"type":"integer"},{"type":"string"},{"type":"null"}]}},"required":["a"]}]}
        "#]],
    );
    check(
        &[],
        expect![[r#"
        {"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Flight"}
    "#]],
    );
    check(
        &[json!(null)],
        expect![[r#"
        {"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Flight","type":"null"}
    "#]],
    );
}

#[test]
fn the_shape_says_the_same() {
    let Shape::Record(record) = observed(&flights(240)).proposal("flight").shape else {
        panic!("a record");
    };
    let mut lines = format!("{}\n", record.name);
    for field in record.fields {
        lines += &format!(
            "{}: {:?}, optional: {}\n",
            field.name, field.shape, field.optional
        );
    }
    expect![[r#"
        Flight
        time: Timestamp(Millis), optional: false
        month: Int32, optional: false
        carrier: Enum(EnumShape { name: "Carrier", symbols: ["AA", "B6", "UA"], default: None }), optional: false
        tailnum: String, optional: false
        delay: Union([Null, Int32]), optional: false
        distance: Int32, optional: false
        hours: Double, optional: false
        id: Int64, optional: false
        gate: Record(RecordShape { name: "Gate", doc: None, fields: [FieldShape { name: "terminal", shape: Enum(EnumShape { name: "Terminal", symbols: ["A", "B"], default: None }), optional: false, default: None, doc: None }, FieldShape { name: "legs", shape: List(Record(RecordShape { name: "Legs", doc: None, fields: [FieldShape { name: "to", shape: String, optional: true, default: None, doc: None }] })), optional: false, default: None, doc: None }] }), optional: true
    "#]].assert_eq(&lines);
}

#[test]
fn evidence_is_told_by_path() {
    let proposal = observed(&flights(240)).proposal("flight");
    let lines: Vec<String> = proposal
        .evidence
        .iter()
        .map(|evidence| serde_json::to_string(evidence).expect("JSON"))
        .collect();
    expect![[r#"
        {"path":"","seen":240,"of":240,"nulls":0,"types":[["object",240]]}
        {"path":"/time","seen":240,"of":240,"nulls":0,"types":[["string",240]],"length":[20,20],"distinct":28,"values":[["2013-01-01T10:00:00Z",9],["2013-01-02T10:00:00Z",9],["2013-01-03T10:00:00Z",9],["2013-01-04T10:00:00Z",9],["2013-01-05T10:00:00Z",9],["2013-01-06T10:00:00Z",9],["2013-01-07T10:00:00Z",9],["2013-01-08T10:00:00Z",9],["2013-01-09T10:00:00Z",9],["2013-01-10T10:00:00Z",9],["2013-01-11T10:00:00Z",9],["2013-01-12T10:00:00Z",9],["2013-01-13T10:00:00Z",9],["2013-01-14T10:00:00Z",9],["2013-01-15T10:00:00Z",9],["2013-01-16T10:00:00Z",9]],"formats":[["date-time",240]]}
        {"path":"/month","seen":240,"of":240,"nulls":0,"types":[["integer",240]],"least":1,"most":12,"distinct":12,"values":[[1,20],[2,20],[3,20],[4,20],[5,20],[6,20],[7,20],[8,20],[9,20],[10,20],[11,20],[12,20]]}
        {"path":"/carrier","seen":240,"of":240,"nulls":0,"types":[["string",240]],"length":[2,2],"distinct":3,"values":[["AA",80],["B6",80],["UA",80]]}
        {"path":"/tailnum","seen":240,"of":240,"nulls":0,"types":[["string",240]],"length":[2,4]}
        {"path":"/delay","seen":240,"of":240,"nulls":35,"types":[["integer",205]],"least":-4,"most":234}
        {"path":"/distance","seen":240,"of":240,"nulls":0,"types":[["integer",240]],"least":0,"most":2390}
        {"path":"/hours","seen":240,"of":240,"nulls":0,"types":[["number",240]],"least":0.0,"most":59.75}
        {"path":"/id","seen":240,"of":240,"nulls":0,"types":[["integer",240]],"least":1099511627776,"most":1099511628015}
        {"path":"/gate","seen":120,"of":240,"nulls":0,"types":[["object",120]]}
        {"path":"/gate/terminal","seen":120,"of":120,"nulls":0,"types":[["string",120]],"length":[1,1],"distinct":2,"values":[["A",60],["B",60]]}
        {"path":"/gate/legs","seen":120,"of":120,"nulls":0,"types":[["array",120]],"items":[2,2]}
        {"path":"/gate/legs/[]","seen":240,"of":240,"nulls":0,"types":[["object",240]]}
        {"path":"/gate/legs/[]/to","seen":120,"of":240,"nulls":0,"types":[["string",120]],"length":[3,3],"distinct":1,"values":[["SFO",120]]}"#]].assert_eq(&lines.join("\n"));
}

/// A proposal can be written in every format, and the schema that comes of it takes what was seen.
#[test]
fn every_format_takes_what_was_seen() {
    let documents = flights(240);
    let proposal = observed(&documents).proposal("flight");
    for format in Format::ALL {
        let text = Schema::text_of(format, &proposal.shape);
        let schema = Schema::compile(format, &text, &[]).expect("a schema");
        for document in &documents {
            let encoded = schema.encode(&document.clone().into());
            assert!(encoded.is_ok(), "{format}: {encoded:?} {document}\n{text}");
        }
    }
}
