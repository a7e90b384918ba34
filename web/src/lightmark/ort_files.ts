/** The files of onnxruntime-web that run models, for each of what they run on. */

export type Backend = "wasm" | "webgpu";

/**
 * The build that runs on processors alone is the fastest there and the smallest. That with WebGPU needs a browser that
 * can suspend WebAssembly (JSPI), as Chromium's can; its twin for other browsers takes twice as long on processors.
 */
export const FILES: Readonly<Record<Backend, { readonly script: string; readonly glue: string; readonly wasm: string }>> =
  {
    wasm: {
      script: "ort.wasm.min.mjs",
      glue: "ort-wasm-simd-threaded.mjs",
      wasm: "ort-wasm-simd-threaded.wasm",
    },
    webgpu: {
      script: "ort.jspi.min.mjs",
      glue: "ort-wasm-simd-threaded.jspi.mjs",
      wasm: "ort-wasm-simd-threaded.jspi.wasm",
    },
  };
