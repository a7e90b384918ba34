/** onnxruntime-web behind one door: which of its builds runs, on what, with how many threads. */
import type * as Ort from "onnxruntime-web/wasm";
import { LightmarkError } from "./errors";
import { readMetadata } from "./onnx_file";
import { FILES, type Backend } from "./ort_files";

export type { Backend } from "./ort_files";

export interface RuntimeOptions {
  /** The processor ("wasm", everywhere) or the graphics card ("webgpu", see `hasWebGpu`). */
  readonly backend?: Backend;
  /** Threads of the processor; more than one only where the page is cross-origin isolated. */
  readonly threads?: number;
  /** Folder with onnxruntime-web's files, those that ort_files.ts names. */
  readonly ort?: string | URL;
}

/** One session: what a file says of itself, and what runs it. */
export interface Session {
  readonly metadata: ReadonlyMap<string, string>;
  readonly input: { readonly name: string; readonly type: string; readonly batch: number | null };
  run(type: "uint8" | "float32", data: Uint8Array | Float32Array, shape: readonly number[]): Promise<Output[]>;
  release(): Promise<void>;
}

export interface Output {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

const ERRORS = 3; // onnxruntime's severity: what is below them is noise
const MOST_THREADS = 4; // small networks gain nothing from more

/** As many threads as half the cores, as onnxruntime-web itself counts: the other half draws the page. */
export function defaultThreads(): number {
  if (!globalThis.crossOriginIsolated) return 1;
  return Math.max(1, Math.min(MOST_THREADS, Math.ceil((navigator.hardwareConcurrency || 1) / 2)));
}

/** Whether this browser can run models on a graphics card. */
export async function hasWebGpu(): Promise<boolean> {
  if (!("Suspending" in WebAssembly)) return false;
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<object | null> } }).gpu;
  try {
    return Boolean(await gpu?.requestAdapter());
  } catch {
    return false;
  }
}

const loaded = new Map<string, Promise<typeof Ort>>();

function load(options: RuntimeOptions): Promise<typeof Ort> {
  const backend = options.backend ?? "wasm";
  const here = import.meta.url; // apart from `new URL`, which bundlers would take for a file to carry along
  const folder = new URL(options.ort ?? "ort/", here);
  const files = FILES[backend];
  const place = new URL(files.script, folder).href;
  let module = loaded.get(place);
  if (!module) {
    module = import(/* @vite-ignore */ place).then((ort: typeof Ort) => {
      ort.env.logLevel = "error";
      ort.env.wasm.wasmPaths = { mjs: new URL(files.glue, folder).href, wasm: new URL(files.wasm, folder).href };
      ort.env.wasm.numThreads = options.threads ?? defaultThreads();
      return ort;
    });
    loaded.set(place, module);
    module.catch(() => loaded.delete(place));
  }
  return module;
}

let last: Promise<unknown> = Promise.resolve();

/** `work` after all that was asked for before: on graphics cards onnxruntime-web can do one thing at a time only. */
function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
  const done = last.then(work);
  last = done.catch(() => null);
  return done;
}

/** The session of the ONNX model in `bytes`, which errors call `name`. */
export async function openSession(bytes: Uint8Array, name: string, options: RuntimeOptions = {}): Promise<Session> {
  const metadata = readMetadata(bytes, name);
  const ort = await load(options);
  const settings = { executionProviders: [options.backend ?? "wasm"], logSeverityLevel: ERRORS } as const;
  const session = await inTurn(() => ort.InferenceSession.create(bytes, settings)).catch((error: Error) => {
    throw new LightmarkError(`${name} does not open: ${error.message}`);
  });
  const [input, ...others] = session.inputMetadata;
  if (others.length || !input?.isTensor) throw new LightmarkError(`${name} does not take one picture.`);
  const batch = input.shape[0];
  return {
    metadata,
    input: { name: input.name, type: input.type, batch: typeof batch === "number" ? batch : null },
    async run(type, data, shape) {
      const outputs = await inTurn(() => session.run({ [input.name]: new ort.Tensor(type, data as never, shape) }));
      return session.outputNames.map((output) => {
        const { data, dims } = outputs[output];
        return { data: Float32Array.from(data as Float32Array), dims };
      });
    },
    release: () => inTurn(() => session.release()),
  };
}

/** The bytes of `source`: a file's address, the file or its bytes. */
export async function readBytes(source: string | URL | Blob | ArrayBuffer | Uint8Array): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  let answer: Response;
  try {
    answer = await fetch(source);
  } catch {
    throw new LightmarkError(`${source} cannot be reached; is the network or the server off?`);
  }
  if (!answer.ok) throw new LightmarkError(`${source}: the server answers ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}
