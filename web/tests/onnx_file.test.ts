import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readMetadata } from "../src/lightmark/onnx_file";
import { detectorFromMetadata, specFromMetadata } from "../src/lightmark/spec";

const MODELS = new URL("../../src/lightmark/models/", import.meta.url);
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, MODELS)));
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A field of protobuf's wire type 2, shorter than 128 bytes. */
const field = (number: number, content: Uint8Array): number[] => [number * 8 + 2, content.length, ...content];

/** An ONNX file of IR version 8 with an empty graph and one entry of metadata. */
function onnxWith(key: string, value: string): Uint8Array {
  const entry = new Uint8Array([...field(1, bytesOf(key)), ...field(2, bytesOf(value))]);
  return new Uint8Array([8, 8, ...field(7, new Uint8Array()), ...field(14, entry)]);
}

describe("readMetadata", () => {
  it("reads an entry, written as protobuf writes it", () => {
    expect(readMetadata(onnxWith("clé", "valeur"), "a.onnx")).toEqual(new Map([["clé", "valeur"]]));
  });

  it("finds the ModelSpec of the shipped model", () => {
    const spec = specFromMetadata(readMetadata(read("fast.onnx"), "fast.onnx"), "fast.onnx");
    expect(spec).toMatchObject({ size: 128, cropScale: 1.25, confidence: true, template: null });
    expect(spec.schema).toMatchObject({ name: "ibug68", size: 68 });
  });

  it("finds the settings of the shipped detector", () => {
    expect(detectorFromMetadata(readMetadata(read("face.onnx"), "face.onnx"), "face.onnx").multiple).toBe(32);
  });

  it.each([
    ["text", bytesOf("These are my notes, and no model at all.")],
    ["nothing", new Uint8Array()],
    ["a PNG", new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13])],
    ["half of a model", read("fast.onnx").subarray(0, 100_000)],
  ])("refuses %s", (_, bytes) => {
    expect(() => readMetadata(bytes, "notes.txt")).toThrow("notes.txt is no ONNX model, or was cut short");
  });
});

describe("specFromMetadata", () => {
  it("refuses an ONNX model of somebody else", () => {
    expect(() => specFromMetadata(new Map(), "resnet.onnx")).toThrow("not one of Lightmark’s");
  });

  it("refuses a face detector and says that it is one", () => {
    const metadata = readMetadata(read("face.onnx"), "face.onnx");
    expect(() => specFromMetadata(metadata, "face.onnx")).toThrow("face.onnx is a face detector");
  });

  it.each([
    ["another version", '{"lightmark": 2}', "version 2, this page reads 1"],
    ["no schema", '{"lightmark": 1, "schema": {}}', "lacks a name"],
    ["no JSON", "{", "no usable ModelSpec"],
    ["an impossible size", '{"lightmark": 1, "schema": {"name": "a", "mirror": [0]}, "size": 2}', "size is 2"],
  ])("refuses %s", (_, text, message) => {
    expect(() => specFromMetadata(new Map([["lightmark", text]]), "a.onnx")).toThrow(message);
  });
});
