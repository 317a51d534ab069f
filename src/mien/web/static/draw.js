// Boxes and bars over an image, and the timeline of a person.

export const COLOURS = {  // as mien draws them in Python; the colour-blind tell them apart (Okabe and Ito, 2008)
  neutral: "#c8c8c8", happy: "#f0e442", surprise: "#56b4e9", sad: "#0072b2", angry: "#d55e00",
  disgust: "#009e73", fear: "#cc79a7", contempt: "#e69f00", uncertain: "#ebebeb",
};
const INK = "#111318", SHADE = "rgb(17 19 24 / .8)", PAPER = "#fafafa";
const FONT = "system-ui, 'DejaVu Sans', sans-serif";

export const colour = (label) => COLOURS[label] ?? "#ebebeb";
export const percent = (share) => `${Math.round(100 * share)} %`;

/** A canvas as large as it is shown, in CSS pixels, sharp on any screen. */
function open(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return { pen, width, height };
}

/**
 * Marks faces over an image.
 * @param canvas lies over the whole image
 * @param size {width, height} of the image in its own pixels
 * @param faces [{box: {x1, y1, x2, y2}, title, label, probs: {label: 0..1}}]
 */
export function drawFaces(canvas, size, faces) {
  const { pen, width, height } = open(canvas);
  const scale = width / size.width;
  const boxes = faces.map(({ box }) => [box.x1 * scale, box.y1 * scale, box.x2 * scale, box.y2 * scale]);
  const taken = boxes.map((box) => box);
  faces.forEach((face, i) => drawBox(pen, boxes[i], colour(face.label)));
  const tags = faces.map((face, i) => {
    const tag = placeTag(pen, boxes[i], face.title, width, height);
    taken.push(tag);
    return tag;
  });
  faces.forEach((face, i) => {
    const chart = placeChart(boxes[i], face, width, height, taken);
    if (chart) {
      taken.push(chart);
      drawChart(pen, chart, face);
    }
  });
  faces.forEach((face, i) => drawTag(pen, tags[i], face));
}

function drawBox(pen, [x1, y1, x2, y2], ink) {
  for (const [stroke, wide] of [[SHADE, 5], [ink, 3]]) {
    pen.strokeStyle = stroke;
    pen.lineWidth = wide;
    pen.beginPath();
    pen.roundRect(x1, y1, x2 - x1, y2 - y1, 4);
    pen.stroke();
  }
}

function placeTag(pen, [x1, y1, , y2], text, width, height) {
  pen.font = `600 13px ${FONT}`;
  const wide = pen.measureText(text).width + 14, high = 22;
  const left = Math.max(0, Math.min(x1 - 2, width - wide));
  const top = y1 - high - 4 >= 0 ? y1 - high - 4 : y2 + high + 4 <= height ? y2 + 4 : Math.max(y1 + 4, 0);
  return [left, top, left + wide, top + high];
}

function drawTag(pen, [x1, y1, x2, y2], face) {
  pen.fillStyle = colour(face.label);
  pen.beginPath();
  pen.roundRect(x1, y1, x2 - x1, y2 - y1, 4);
  pen.fill();
  pen.fillStyle = ["sad"].includes(face.label) ? PAPER : INK;
  pen.font = `600 13px ${FONT}`;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  pen.fillText(face.title, x1 + 7, (y1 + y2) / 2 + 1);
}

/** Right of the box, left, below or above: the first place that is on the image and free. */
function placeChart([x1, y1, x2, y2], face, width, height, taken) {
  const wide = 132, high = 12 + 14 * Object.keys(face.probs).length, gap = 8, tag = 28;
  const top = Math.max(0, Math.min(y1, height - high)), left = Math.max(0, Math.min(x1, width - wide));
  const corners = [[x2 + gap, top], [x1 - gap - wide, top], [left, y2 + gap], [left, y2 + tag], [left, y1 - tag - high - gap]];
  const spots = corners.map(([x, y]) => [x, y, x + wide, y + high]);
  return spots.find(([l, t, r, b]) => l >= 0 && t >= 0 && r <= width && b <= height
    && !taken.some(([tl, tt, tr, tb]) => l < tr && tl < r && t < tb && tt < b));
}

function drawChart(pen, [x1, y1, x2], face) {
  const names = Object.entries(face.probs);
  pen.fillStyle = SHADE;
  pen.beginPath();
  pen.roundRect(x1, y1, x2 - x1, 12 + 14 * names.length, 6);
  pen.fill();
  pen.font = `11px ${FONT}`;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  names.forEach(([name, prob], i) => {
    const y = y1 + 13 + 14 * i, left = x1 + 64, full = x2 - 8 - left;
    pen.fillStyle = name === face.label ? PAPER : "rgb(250 250 250 / .75)";
    pen.fillText(name, left - 6, y + .5);
    pen.fillStyle = "rgb(250 250 250 / .16)";
    pen.fillRect(left, y - 4, full, 8);
    pen.fillStyle = colour(name);
    pen.fillRect(left, y - 4, Math.max(prob * full, prob > 0 ? 1 : 0), 8);
  });
}

/**
 * Stacked bands of a person's smoothed probabilities over time. Of points that share a pixel's width, the last is
 * drawn, so that hours cost no more than minutes.
 * @param points [{time, probs}] in order
 * @param span [from, to] seconds
 * @param now seconds where a mark is drawn
 */
export function drawTimeline(canvas, points, labels, span, now) {
  const { pen, width, height } = open(canvas);
  const ratio = canvas.width / width;  // bands begin on whole pixels of the screen: no seams between them
  const place = (time) => Math.round((time - span[0]) / (span[1] - span[0] || 1) * width * ratio) / ratio;
  for (let i = 0; i < points.length; i++) {
    const { time, probs } = points[i];
    const next = points[i + 1]?.time ?? Math.min(time + .1, span[1]);
    if (next < span[0]) continue;
    const x = place(time), wide = place(Math.min(next, time + 1)) - x;
    if (!wide) continue;
    let y = height;
    labels.forEach((label, j) => {
      const high = probs[j] * height;
      pen.fillStyle = colour(label);
      pen.fillRect(x, y - high, wide, high + .5);
      y -= high;
    });
  }
  pen.fillStyle = INK;
  pen.fillRect(place(now) - 2, 0, 4, height);
  pen.fillStyle = PAPER;
  pen.fillRect(place(now) - 1, 0, 2, height);
}
