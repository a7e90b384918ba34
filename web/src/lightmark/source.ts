/** Sources: whatever a browser draws, as pixels. */
import { LightmarkError } from "./errors";
import type { Picture } from "./image";

export type Source = HTMLImageElement | HTMLVideoElement | HTMLCanvasElement | OffscreenCanvas | ImageBitmap | VideoFrame;

/** The pixels of `source`; a `Picture`, such as an `ImageData`, is one already. */
export function toPicture(source: Source | Picture, canvas?: OffscreenCanvas): Picture {
  if ("data" in source) return source;
  const [width, height] = extent(source);
  if (!width || !height) throw new LightmarkError("the picture is empty, or has not been loaded yet");
  const sheet = canvas ?? new OffscreenCanvas(width, height);
  if (sheet.width !== width) sheet.width = width;
  if (sheet.height !== height) sheet.height = height;
  const context = sheet.getContext("2d", { willReadFrequently: true, alpha: false });
  if (!context) throw new LightmarkError("this browser gives no canvas to read pictures with");
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function extent(source: Source): [number, number] {
  if ("naturalWidth" in source) return [source.naturalWidth, source.naturalHeight];
  if ("videoWidth" in source) return [source.videoWidth, source.videoHeight];
  if ("displayWidth" in source) return [source.displayWidth, source.displayHeight];
  return [source.width, source.height];
}
