/** Everything that Lightmark raises on purpose; its message is written for the person who chose the file. */
export class LightmarkError extends Error {
  override name = "LightmarkError";
}
