"""Writes MiniLM-L6-v2 as ONNX: weights of a safetensors file in, a graph with 7-bit integers out.

    minilm-to-onnx.py MODEL.safetensors MODEL.onnx

Input: `input_ids`, [1, tokens] of one text, without padding. Output: `embedding`, [1, 384], the mean over the tokens with
length 1. Equal input gives equal bytes. Needs numpy and onnx; scripts/fetch-models calls it.
"""
import json
import sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

source, target = sys.argv[1:]
with open(source, "rb") as file:
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    start = file.tell()
    weights = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, end = entry["data_offsets"]
            file.seek(start + first)
            weights[name] = np.frombuffer(file.read(end - first), "<f4").reshape(entry["shape"])

LAYERS, HEADS, WIDTH = 6, 12, 384
nodes, tensors = [], []

def keep(name, array):
    tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return name

def make(kind, inputs, output, outputs=None, **attributes):
    nodes.append(helper.make_node(kind, inputs, outputs or [output], name=output, **attributes))
    return output

# Seven bits of a byte: processors without dot products of bytes would overflow with eight.
def quantized(name, matrix, axis):
    scale = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True), 1e-12) / np.float32(63)
    return keep(name + ".q", np.rint(matrix / scale).astype(np.int8)), scale.astype(np.float32)

def dense(inputs, name, bias):
    """A linear layer on what `quantize` gave."""
    value, scale, zero = inputs
    matrix, scales = quantized(name, weights[name].T, 0)
    product = make("MatMulInteger", [value, matrix, zero], name + ".product")
    number = make("Cast", [product], name + ".number", to=TensorProto.FLOAT)
    both = make("Mul", [scale, keep(name + ".scale", scales[0])], name + ".both")
    scaled = make("Mul", [number, both], name + ".scaled")
    return make("Add", [scaled, keep(bias, weights[bias])], name + ".out")

def quantize(value):
    parts = [value + ".u8", value + ".scale", value + ".zero"]
    make("DynamicQuantizeLinear", [value], value + ".u8", parts)
    return parts

def normal(value, name):
    scale, bias = keep(name + ".weight", weights[name + ".weight"]), keep(name + ".bias", weights[name + ".bias"])
    return make("LayerNormalization", [value, scale, bias], name + ".out", axis=-1, epsilon=1e-12)

# Words, each row with a scale of its own; positions, with the only token type added.
words, scales = quantized("words", weights["embeddings.word_embeddings.weight"], 1)
one, zero = keep("one", np.float32(1)), keep("zero", np.int8(0))
row = make("Gather", [words, "input_ids"], "word.q", axis=0)
row = make("DequantizeLinear", [row, one, zero], "word.number")
scale = make("Gather", [keep("words.scale", scales), "input_ids"], "word.scale", axis=0)
word = make("Mul", [row, scale], "word")
places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
length = make("Shape", ["input_ids"], "length", start=1, end=2)
place = make("Slice", [keep("places", places), keep("from", np.int64([0])), length, keep("axis", np.int64([0]))], "place")
x = normal(make("Add", [word, place], "sum"), "embeddings.LayerNorm")

split = keep("split", np.int64([1, -1, HEADS, WIDTH // HEADS]))
join = keep("join", np.int64([1, -1, WIDTH]))
root = keep("root", np.float32(np.sqrt(WIDTH / HEADS)))
half, unit, two = keep("half", np.float32(0.5)), keep("unit", np.float32(1)), keep("sqrt2", np.float32(np.sqrt(2)))
for layer in range(LAYERS):
    at = f"encoder.layer.{layer}"
    parts = quantize(x)
    heads = {}
    for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        full = f"{at}.attention.self.{name}"
        out = make("Reshape", [dense(parts, full + ".weight", full + ".bias"), split], full + ".split")
        heads[name] = make("Transpose", [out], full + ".heads", perm=order)
    score = make("Div", [make("MatMul", [heads["query"], heads["key"]], at + ".dot"), root], at + ".score")
    score = make("Softmax", [score], at + ".softmax", axis=-1)
    mixed = make("Transpose", [make("MatMul", [score, heads["value"]], at + ".mix")], at + ".mixed", perm=[0, 2, 1, 3])
    mixed = make("Reshape", [mixed, join], at + ".joined")
    out = dense(quantize(mixed), at + ".attention.output.dense.weight", at + ".attention.output.dense.bias")
    x = normal(make("Add", [out, x], at + ".attended"), at + ".attention.output.LayerNorm")
    wide = dense(quantize(x), at + ".intermediate.dense.weight", at + ".intermediate.dense.bias")
    erf = make("Erf", [make("Div", [wide, two], at + ".wide.div")], at + ".wide.erf")
    gate = make("Mul", [make("Add", [erf, unit], at + ".wide.add"), half], at + ".wide.half")
    wide = make("Mul", [wide, gate], at + ".gelu")
    out = dense(quantize(wide), at + ".output.dense.weight", at + ".output.dense.bias")
    x = normal(make("Add", [out, x], at + ".thought"), at + ".output.LayerNorm")

mean = make("ReduceMean", [x], "mean", axes=[1], keepdims=0)
square = make("Mul", [mean, mean], "square")
total = make("ReduceSum", [square, keep("last", np.int64([1]))], "total", keepdims=1)
make("Div", [mean, make("Sqrt", [total], "norm")], "embedding")

graph = helper.make_graph(
    nodes, "minilm",
    [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
    [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, WIDTH])], tensors)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
with open(target, "wb") as file:
    file.write(model.SerializeToString(deterministic=True))
