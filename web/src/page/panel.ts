/** Panel: what was found and how long it took, in words and numbers. */
import type { Face } from "../lightmark/landmarker";
import { CLOSED_EYE, opennessOf } from "../lightmark/measures";
import type { Pose } from "../lightmark/pose";
import type { Stages } from "./messages";
import { degrees, duration } from "./results";

/** One row a stage: its name and its milliseconds, in the order in which they come. */
export function stageRows(stages: Stages): [string, number][] {
  return [
    ["Read the pixels", stages.pixels],
    ["Shrink the picture", stages.shrink],
    ["Find the faces", stages.detector],
    ["Cut the crops", stages.crop],
    ["Find the landmarks", stages.landmarks],
  ];
}

export function showStages(stages: Stages, table: HTMLElement, stack: HTMLElement): void {
  const rows = stageRows(stages);
  const spent = rows.reduce((sum, [, milliseconds]) => sum + milliseconds, 0) || 1;
  stack.replaceChildren(
    ...rows.map(([, milliseconds], index) => {
      const bar = element("i", "", `stage-${index}`);
      bar.style.flexGrow = String(milliseconds / spent);
      return bar;
    }),
  );
  table.replaceChildren(
    ...rows.map(([name, milliseconds], index) => {
      const head = element("th", name);
      head.scope = "row";
      head.prepend(element("i", "", `stage-${index}`));
      return rowOf(head, milliseconds);
    }),
    rowOf(Object.assign(element("th", "All together"), { scope: "row" }), stages.total, "total"),
  );
}

function rowOf(head: HTMLElement, milliseconds: number, name = ""): HTMLElement {
  const row = element("tr", "", name);
  row.append(head, element("td", duration(milliseconds)));
  return row;
}

/** A button for each face; `choose` is called with its place in the list. */
export function showFaces(
  faces: readonly (Face & { readonly id: number })[],
  chosen: number | null,
  list: HTMLElement,
  choose: (index: number) => void,
): void {
  while (list.children.length > faces.length) list.lastElementChild?.remove();
  while (list.children.length < faces.length) list.append(faceRow(list.children.length, choose));
  faces.forEach((face, index) => fillRow(list.children[index] as HTMLElement, face, index === chosen));
}

/** Rows are filled again, not made anew: a camera must not take the focus away many times a second. */
function faceRow(index: number, choose: (index: number) => void): HTMLElement {
  const button = element("button");
  button.type = "button";
  button.addEventListener("click", () => choose(index));
  const head = element("span", "", "head");
  head.append(element("b"), element("span"));
  const values = element("span", "", "values");
  for (const name of ["Yaw", "Pitch", "Roll", "Left eye", "Right eye", "Mouth"]) {
    const cell = element("span", name);
    cell.append(element("b"));
    values.append(cell);
  }
  button.append(head, values);
  const item = element("li");
  item.append(button);
  return item;
}

function fillRow(item: HTMLElement, face: Face & { readonly id: number }, chosen: boolean): void {
  const [title, about, ...cells] = item.querySelectorAll<HTMLElement>(".head b, .head span, .values b");
  item.querySelector("button")?.setAttribute("aria-pressed", String(chosen));
  title.textContent = `Face ${face.id + 1}`;
  about.textContent = aboutFace(face);
  const values = face.pose ? [...Object.values(face.pose).map(degrees), ...openness(face.points, face.pose)] : [];
  cells.forEach((cell, index) => (cell.textContent = values[index] ?? "–"));
}

/** Openness of left eye, right eye and mouth in percent; an eye below the threshold is closed. */
function openness(points: Face["points"], pose: Pose): string[] {
  const { left, right, mouth } = opennessOf(points, pose);
  const percent = (value: number): string => `${Math.round(100 * value)} %`;
  return [...[left, right].map((eye) => (eye < CLOSED_EYE ? "closed" : percent(eye))), percent(mouth)];
}

function aboutFace({ confidence, expected_error }: Face): string {
  const words = [];
  if (expected_error) words.push(`± ${(expected_error.reduce((a, b) => a + b, 0) / expected_error.length).toFixed(1)} px`);
  if (confidence !== null) words.push(`${Math.round(confidence * 100)} % sure`);
  return words.join(" · ");
}

export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  text = "",
  className = "",
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** "no face", "one face", "3 faces". */
export function countOf(faces: number): string {
  return faces === 0 ? "No face" : faces === 1 ? "One face" : `${faces} faces`;
}
