/** Catalogue: the models that lie beside the page, as models.json and detectors.json list them. */
import { LightmarkError } from "../lightmark/errors";
import { readBytes } from "../lightmark/runtime";

export interface ShippedModel {
  readonly name: string;
  readonly url: string;
  readonly summary: string;
  readonly licence: string;
}

export interface Catalogue {
  readonly models: readonly ShippedModel[];
  readonly detector: ShippedModel;
}

// int8 is slower than float32 in WebAssembly, and half precision as fast.
const NOT_FOR_BROWSERS = /-(int8|fp16)/;
const BEST_FIRST = ["fast", "standard"];

/** Models of models.json for browsers, the one to begin with first. */
export function modelsIn(listed: Record<string, Record<string, string>>, folder: string): ShippedModel[] {
  const rank = (name: string): number => (BEST_FIRST.includes(name) ? BEST_FIRST.indexOf(name) : BEST_FIRST.length);
  return Object.entries(listed)
    .filter(([name]) => !NOT_FOR_BROWSERS.test(name))
    .map(([name, entry]) => ({
      name,
      url: new URL(entry.file, folder).href,
      summary: entry.summary ?? "",
      licence: entry.licence ?? "",
    }))
    .sort((a, b) => rank(a.name) - rank(b.name));
}

export async function readCatalogue(folder: string): Promise<Catalogue> {
  const read = async (name: string): Promise<ShippedModel[]> => {
    const text = new TextDecoder().decode(await readBytes(new URL(name, folder)));
    return modelsIn(JSON.parse(text), folder);
  };
  const [models, detectors] = await Promise.all([read("models.json"), read("detectors.json")]);
  const detector = detectors.find(({ name }) => name === "face") ?? detectors[0];
  if (!models.length || !detector) throw new LightmarkError("no models lie beside this page");
  return { models, detector };
}
