//! Writes the cases with apache-avro: `cargo run` prints the lines.
use apache_avro::{to_avro_datum, types::Value, Decimal, Schema};
use chrono::DateTime;
use num_bigint::BigInt;
use serde_json::{json, Map, Value as Json};
use std::fs;

const RECORDED: &str = "../..";
const BY: &str = "apache-avro for Rust 0.17";

fn read(path: &str) -> String {
    fs::read_to_string(format!("{RECORDED}/{path}")).expect(path)
}

fn field(name: &str, value: &Json, version: i32, fixed: bool) -> Value {
    let text = || value.as_str().expect(name).to_string();
    match name {
        "event_time" | "ingest_time" => {
            Value::TimestampMillis(DateTime::parse_from_rfc3339(&text()).expect(name).timestamp_millis())
        }
        "amount" => {
            let unscaled: BigInt = text().replace('.', "").parse().expect(name);
            let mut bytes = unscaled.to_signed_bytes_be();
            while fixed && bytes.len() < 12 {
                bytes.insert(0, if unscaled.sign() == num_bigint::Sign::Minus { 0xff } else { 0 });
            }
            Value::Decimal(Decimal::from(bytes))
        }
        "schema_version" => Value::Int(version),
        "quantity" => Value::Int(value.as_i64().expect(name) as i32),
        "promo_code" | "sales_channel" => match value.as_str() {
            None => Value::Union(0, Box::new(Value::Null)),
            Some(text) => Value::Union(1, Box::new(Value::String(text.to_string()))),
        },
        _ => Value::String(text()),
    }
}

fn main() {
    let cases: Map<String, Json> = serde_json::from_str(&read("cases.json")).expect("cases");
    let published = "../../../rtap_assets/schemas/sales.events.v1-value";
    for (name, path) in [
        ("1", format!("{published}/1.avsc")),
        ("2", format!("{published}/2.avsc")),
        ("fixed", "fixed.avsc".to_string()),
    ] {
        let text = read(&path);
        let schema = Schema::parse_str(&text).expect(name);
        let declared: Json = serde_json::from_str(&text).expect(name);
        let version = if name == "1" { 1 } else { 2 };
        for (case, values) in &cases {
            let fields = declared["fields"].as_array().expect("fields").iter();
            let event = fields
                .map(|child| {
                    let key = child["name"].as_str().expect("name");
                    (key.to_string(), field(key, &values[key], version, name == "fixed"))
                })
                .collect();
            let body = to_avro_datum(&schema, Value::Record(event)).expect(case);
            println!("{}", json!({"schema": name, "case": case, "body": hex::encode(body), "by": BY}));
        }
    }
}
