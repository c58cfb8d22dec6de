//! Writes tiny ONNX files for tests, so that none has to be fetched: a chain of element-wise or matrix operators.

/// A value's name, its ONNX element type (1 f32, 2 u8, 6 i32, 7 i64) and its sizes (`None`: open).
pub type Value<'a> = (&'a str, u64, &'a [Option<u64>]);
/// Operator, inputs, output.
pub type Node<'a> = (&'a str, &'a [&'a str], &'a str);

pub fn model(inputs: &[Value<'_>], nodes: &[Node<'_>], outputs: &[Value<'_>]) -> Vec<u8> {
    let mut graph = Vec::new();
    for (operator, from, to) in nodes {
        let mut node = Vec::new();
        from.iter().for_each(|name| field(&mut node, 1, name.as_bytes()));
        field(&mut node, 2, to.as_bytes());
        field(&mut node, 3, format!("make_{to}").as_bytes());
        field(&mut node, 4, operator.as_bytes());
        field(&mut graph, 1, &node);
    }
    field(&mut graph, 2, b"test");
    inputs.iter().for_each(|value| field(&mut graph, 11, &value_info(*value)));
    outputs.iter().for_each(|value| field(&mut graph, 12, &value_info(*value)));
    let mut opset = Vec::new();
    field(&mut opset, 1, b"");
    number(&mut opset, 2, 17);
    let mut model = Vec::new();
    number(&mut model, 1, 8);
    field(&mut model, 7, &graph);
    field(&mut model, 8, &opset);
    model
}

/// `y = sigmoid(x)` over a batch of any size by four.
pub fn sigmoid() -> Vec<u8> {
    let shape = [None, Some(4)];
    model(&[("x", 1, &shape)], &[("Sigmoid", &["x"], "y")], &[("y", 1, &shape)])
}

fn value_info((name, element, sizes): Value<'_>) -> Vec<u8> {
    let mut shape = Vec::new();
    for size in sizes {
        let mut dimension = Vec::new();
        match size {
            Some(size) => number(&mut dimension, 1, *size),
            None => field(&mut dimension, 2, b"open"),
        }
        field(&mut shape, 1, &dimension);
    }
    let mut tensor = Vec::new();
    number(&mut tensor, 1, element);
    field(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    field(&mut kind, 1, &tensor);
    let mut info = Vec::new();
    field(&mut info, 1, name.as_bytes());
    field(&mut info, 2, &kind);
    info
}

fn field(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    varint(out, tag << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn number(out: &mut Vec<u8>, tag: u64, value: u64) {
    varint(out, tag << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
