//! The selector of a workload, as `kubectl get --selector` takes it.

use serde_json::Value;

/// The selector of the object, or `None` if it has none. A Service's, and a ReplicationController's, is nothing but labels.
pub(super) fn of(object: &Value) -> Option<String> {
    let selector = object.get("spec")?.get("selector")?.as_object()?;
    let is_label_selector = ["matchLabels", "matchExpressions"]
        .iter()
        .any(|&key| selector.get(key).is_some_and(|value| !value.is_string()));
    let terms = if is_label_selector {
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        let mut terms: Vec<String> = labels.into_iter().flatten().map(equals).collect::<Option<_>>()?;
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            terms.push(term(expression)?);
        }
        terms
    } else {
        selector.iter().map(equals).collect::<Option<_>>()?
    };
    (!terms.is_empty()).then(|| terms.join(","))
}

fn equals((key, value): (&String, &Value)) -> Option<String> {
    Some(format!("{key}={}", value.as_str()?))
}

/// An expression whose operator is not known would select other pods if it were left out: then there is no selector.
fn term(expression: &Value) -> Option<String> {
    let key = expression.get("key")?.as_str()?;
    let values: Vec<&str> =
        expression.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let values = values.join(",");
    match expression.get("operator")?.as_str()? {
        "In" => Some(format!("{key} in ({values})")),
        "NotIn" => Some(format!("{key} notin ({values})")),
        "Exists" => Some(key.to_owned()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}
