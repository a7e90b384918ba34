import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, readdirSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { basename, extname } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Connect, type Plugin } from "vite";
import { FILES } from "./src/lightmark/ort_files.ts";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const MODELS = here("../src/lightmark/models/");
const ORT = here("node_modules/onnxruntime-web/dist/");
const SAMPLES = here("public/samples/");
const RUNTIMES = Object.values(FILES).flatMap((files) => Object.values(files));

// What `lightmark serve` sends, too: threads need isolation, and nothing may be asked of another server.
const POLICY =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src 'self' blob: data:; " +
  "connect-src 'self' blob:; style-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'";
const ISOLATION = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const TYPES: Record<string, string> = { ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };

/** Models and onnxruntime-web's files where the built page has them. */
function localFolders(): Plugin {
  const serve: Connect.NextHandleFunction = (request, response: ServerResponse, next) => {
    const [, folder, name] = /^\/(models|ort)\/([\w.-]+)$/.exec(request.url?.split("?")[0] ?? "") ?? [];
    const file = folder === "models" ? MODELS + name : ORT + name;
    if (!folder || !existsSync(file)) return next();
    response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
    for (const [header, value] of Object.entries(ISOLATION)) response.setHeader(header, value);
    createReadStream(file).pipe(response);
  };
  return {
    name: "local-folders",
    configureServer: (server) => void server.middlewares.use(serve),
    configurePreviewServer: (server) => void server.middlewares.use(serve),
    generateBundle() {
      for (const name of RUNTIMES) {
        this.emitFile({ type: "asset", fileName: `ort/${name}`, source: readFileSync(ORT + name) });
      }
    },
  };
}

/** The policy inside the built page, so that it holds wherever the files are put; not while developing. */
function policyInside(): Plugin {
  return {
    name: "policy-inside",
    apply: "build",
    transformIndexHtml: () => [
      { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
    ],
  };
}

/** Tell the service worker which files the page needs without a network, and a name that changes when they do. */
function offlineFiles(): Plugin {
  return {
    name: "offline-files",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      const samples = readdirSync(SAMPLES).map((name) => `samples/${name}`);
      const rarely = Object.values(FILES.webgpu).map((name) => `ort/${name}`); // kept once it has been used
      const built = Object.keys(bundle).filter((name) => name !== "sw.js" && !rarely.includes(name));
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") return;
      const hash = createHash("sha256");
      for (const name of built.sort()) {
        const file = bundle[name];
        hash.update(name).update(file.type === "chunk" ? file.code : file.source);
      }
      for (const name of samples) hash.update(readFileSync(SAMPLES + basename(name)));
      worker.code = worker.code
        .replace("__FILES__", JSON.stringify(["./", "icon.svg", ...built.filter((name) => name !== "index.html"), ...samples]))
        .replace("__VERSION__", JSON.stringify(hash.digest("hex").slice(0, 12)));
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [localFolders(), policyInside(), offlineFiles()],
  server: { headers: ISOLATION },
  preview: { headers: { ...ISOLATION, "Content-Security-Policy": POLICY } },
  worker: { format: "es" },
  build: {
    outDir: here("../src/lightmark/page"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { index: here("index.html"), sw: here("src/page/sw.ts") },
      output: { entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
