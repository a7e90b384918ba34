/** Shots: pictures from files, as bitmaps that every browser's canvas can hold. */
import { Refusal } from "./engine";
import type { Shot } from "./view";

const MOST_PIXELS = 4096 * 4096; // more, iOS gives no canvas for; larger pictures are reduced first

/** The picture in `blob`, upright; throws a sentence for the visitor where there is none. */
export async function openShot(blob: Blob, name: string): Promise<Shot> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Refusal(`${name} is no picture that this browser can read. JPEG, PNG, WebP, GIF and AVIF are.`);
  }
  const { width, height } = bitmap;
  const share = Math.sqrt(MOST_PIXELS / (width * height));
  if (share >= 1) return { name, bitmap, width, height };
  const options = { resizeWidth: Math.floor(width * share), resizeQuality: "high" } as const;
  const smaller = await createImageBitmap(bitmap, options);
  bitmap.close();
  return { name, bitmap: smaller, width, height };
}
