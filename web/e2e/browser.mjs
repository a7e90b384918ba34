/** Chromium without a window, in a profile of its own. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** A browser with a fresh profile; `flags` besides those it always has. */
export function launch(flags = [], options = {}) {
  return chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "lightmark-page-")), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [...FLAGS.filter((flag) => !flags.includes(`-${flag}`)), ...flags.filter((flag) => !flag.startsWith("---"))],
    viewport: { width: 1280, height: 860 },
    acceptDownloads: true,
    ...options,
  });
}

/** Flags of a camera that shows the MJPEG file `film`. */
export const cameraFlags = (film) => [
  "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", `--use-file-for-fake-video-capture=${film}`,
];
