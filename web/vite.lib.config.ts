import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** lightmark.js beside the page: one module to take along with ort/ and a model. */
export default defineConfig({
  publicDir: false,
  build: {
    outDir: here("../src/lightmark/page"),
    emptyOutDir: false,
    target: "es2022",
    minify: false,
    lib: { entry: here("src/lightmark/index.ts"), formats: ["es"], fileName: () => "lightmark.js" },
  },
});
