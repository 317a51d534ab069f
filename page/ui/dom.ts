/** Making elements, and redrawing them when the language changes. */

type Properties<Tag extends keyof HTMLElementTagNameMap> = Partial<Omit<HTMLElementTagNameMap[Tag], "style">> & { class?: string };

export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag, properties: Properties<Tag> = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const { class: name, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

export function at<Expected extends HTMLElement = HTMLElement>(id: string): Expected {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found as Expected;
}

/** An image or video with a canvas over it, on a card of its own among the results. */
export function stage(media: HTMLElement, caption: string): { card: HTMLElement; canvas: HTMLCanvasElement } {
  const canvas = make("canvas");
  canvas.setAttribute("aria-hidden", "true"); // the same is told in words below
  const figure = make("figure", {}, make("div", { class: "stage" }, media, canvas), make("figcaption", {}, caption));
  const card = make("article", { class: "card" }, figure);
  at("results").append(card);
  return { card, canvas };
}

const drawings = new Set<() => void>();

/** Draws something now, and again whenever `redraw` is called. */
export function drawn(draw: () => void): void {
  drawings.add(draw);
  draw();
}

export const redraw = (): void => drawings.forEach((draw) => draw());

export function clear(): void {
  drawings.clear();
  at("results").replaceChildren();
}
