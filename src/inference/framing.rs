//! Walks the protobuf framing of an ONNX file before the backend's parser sees it: each length fits into what encloses
//! it. The backend spins for ever on files that break this (seen with rten 0.27 on a truncated file).

/// What a field of a message holds, where the framing inside matters.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    /// A message without messages that matter (names and strings).
    Flat,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    /// Repeated numbers in one field.
    PackedVarints,
    Packed(usize),
    Opaque,
}

/// Messages within messages; ONNX needs some ten, subgraphs within subgraphs more.
const DEPTH_MAX: u32 = 64;

/// Whether every message of the file ends where the one around it says.
pub(super) fn well_framed(bytes: &[u8]) -> bool {
    !bytes.is_empty() && message(bytes, Kind::Model, DEPTH_MAX).is_some()
}

fn message(mut bytes: &[u8], kind: Kind, depth: u32) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            5 => bytes = bytes.get(4..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (field, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                content(field, field_kind(kind, tag >> 3), depth)?;
            }
            _ => return None,
        }
    }
    Some(())
}

fn content(field: &[u8], kind: Kind, depth: u32) -> Option<()> {
    match kind {
        Kind::Opaque => Some(()),
        Kind::Packed(size) => field.len().is_multiple_of(size).then_some(()),
        Kind::PackedVarints => {
            let mut rest = field;
            while !rest.is_empty() {
                varint(&mut rest)?;
            }
            Some(())
        }
        message_kind => message(field, message_kind, depth),
    }
}

fn field_kind(kind: Kind, number: u64) -> Kind {
    match (kind, number) {
        (Kind::Model, 7) | (Kind::Attribute, 6 | 11) => Kind::Graph,
        (Kind::Model, 8 | 14) => Kind::Flat,
        (Kind::Graph, 1) => Kind::Node,
        (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) => Kind::Tensor,
        (Kind::Graph, 11..=13) => Kind::ValueInfo,
        (Kind::Node, 5) => Kind::Attribute,
        (Kind::Attribute, 7) | (Kind::Tensor, 4) => Kind::Packed(4),
        (Kind::Tensor, 10) => Kind::Packed(8),
        (Kind::Attribute, 8) | (Kind::Tensor, 1 | 5 | 7 | 11) => Kind::PackedVarints,
        (Kind::Tensor, 13) => Kind::Flat,
        (Kind::ValueInfo, 2) => Kind::Type,
        (Kind::Type, 1 | 8) => Kind::TensorType,
        (Kind::TensorType, 2) => Kind::Shape,
        (Kind::Shape, 1) => Kind::Flat,
        _ => Kind::Opaque,
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first < 0x80 {
            return Some(value);
        }
    }
    None
}
