import { defineConfig } from "vite";

// Built into the Python package, which serves it; paths are relative, so that it works below any prefix.
export default defineConfig({
  base: "./",
  build: { outDir: "../spidereye/server/page", emptyOutDir: true, chunkSizeWarningLimit: 1500 },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
});
