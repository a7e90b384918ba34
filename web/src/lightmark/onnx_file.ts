/** What an ONNX file says of itself, read from its bytes without a runtime. */
import { LightmarkError } from "./errors";

// Fields of onnx.proto's ModelProto and StringStringEntryProto.
const IR_VERSION = 1;
const GRAPH = 7;
const METADATA_PROPS = 14;
const KEY = 1;
const VALUE = 2;

/** A field of a protobuf message: `bytes` where it is a string or a message, else null. */
interface Field {
  readonly number: number;
  readonly bytes: Uint8Array | null;
}

/** `metadata_props` of the ONNX model in `bytes`; throws, calling the file `name`, for anything else. */
export function readMetadata(bytes: Uint8Array, name: string): Map<string, string> {
  const metadata = new Map<string, string>();
  const seen = new Set<number>();
  try {
    for (const field of fields(bytes)) {
      seen.add(field.number);
      if (field.number === METADATA_PROPS && field.bytes) metadata.set(...entry(field.bytes));
    }
  } catch {
    seen.clear();
  }
  if (!seen.has(IR_VERSION) || !seen.has(GRAPH)) {
    throw new LightmarkError(`${name} is no ONNX model, or was cut short. Models are written by “lightmark export”.`);
  }
  return metadata;
}

function entry(bytes: Uint8Array): [string, string] {
  const text = new TextDecoder();
  let [key, value] = ["", ""];
  for (const field of fields(bytes)) {
    if (field.number === KEY && field.bytes) key = text.decode(field.bytes);
    if (field.number === VALUE && field.bytes) value = text.decode(field.bytes);
  }
  return [key, value];
}

/** The fields of one message, one after the other (protobuf's wire format). */
function* fields(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let [value, factor] = [0, 1];
    for (;;) {
      if (at >= bytes.length || factor > 2 ** 63) throw new RangeError("cut");
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    if (number === 0) throw new RangeError("field 0");
    const start = at;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      at += length;
      if (at > bytes.length) throw new RangeError("cut");
      yield { number, bytes: bytes.subarray(at - length, at) };
      continue;
    } else throw new RangeError(`wire type ${wire} at ${start}`);
    if (at > bytes.length) throw new RangeError("cut");
    yield { number, bytes: null };
  }
}
