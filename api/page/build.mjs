// Bundles the page into dist/, and writes down of which sources: the same sources make the same bytes.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const GZIP_MAX = 60 * 1024; // of all files together
const out = process.argv[2] ?? "dist";
await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({
  entryPoints: { app: "src/main.tsx", "app.css": "src/app.css" },
  outdir: out,
  entryNames: "[name]",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
}).catch(() => process.exit(1));
const css = await readFile(`${out}/app.css.css`).catch(() => null);
if (css) {
  await writeFile(`${out}/app.css`, css);
  await rm(`${out}/app.css.css`);
}
await writeFile(`${out}/index.html`, await readFile("src/index.html"));

const sha = async (name) => createHash("sha256").update(await readFile(name)).digest("hex");
const sources = [
  "build.mjs",
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  ...(await readdir("src", { recursive: true, withFileTypes: true }))
    .filter((each) => each.isFile() && each.name !== "openapi.d.ts") // generated, and types alone
    .map((each) => `${each.parentPath ?? each.path}/${each.name}`),
].sort();
const lines = [];
for (const name of sources) lines.push(`${await sha(name)}  ${name}`);
let size = 0;
for (const name of ["app.css", "app.js", "index.html"]) {
  size += gzipSync(await readFile(`${out}/${name}`), { level: 9 }).length;
  lines.push(`${await sha(`${out}/${name}`)}  dist/${name}`);
}
await writeFile(`${out}/SHA256SUMS`, `${lines.join("\n")}\n`);
console.log(`${size} bytes gzipped, of ${GZIP_MAX} at most`);
if (size > GZIP_MAX) process.exit(1);
