// The server labels a photo and returns labels and probabilities; all drawing happens here.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const message = $("#message");
const mix = $("#mix");
let networks = [];
let current = null; // {bitmap, name, blob}
let views = [];
let turn = 0; // number of the newest request; responses to older ones are dropped

function say(text, kind = "") {
  message.textContent = text;
  message.className = kind;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function begin() {
  const about = await (await fetch("/networks")).json();
  networks = about.networks;
  for (const select of [$("#left"), $("#right")]) {
    for (const { name } of networks) select.append(new Option(name, name));
  }
  $("#right").prepend(new Option("none", ""));
  $("#right").value = networks.length > 1 ? networks[1].name : "";
  $("#beside").hidden = networks.length < 2;
  for (const name of about.samples) {
    const button = element("button");
    const picture = element("img");
    picture.src = `/samples/${name}.png`;
    picture.alt = button.title = `sample: ${name}`;
    button.append(picture);
    button.addEventListener("click", () => take(`/samples/${name}.png`, name));
    $("#samples").append(button);
  }
  for (const select of [$("#left"), $("#right"), $("#side")]) {
    select.addEventListener("change", () => current && label());
  }
}

// ---- photo input

async function take(file, name) {
  const mine = ++turn;
  try {
    const blob = typeof file === "string" ? await (await fetch(file)).blob() : file;
    const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
    if (mine !== turn) return;
    current = { bitmap, blob, name: name.replace(/\.[^.]*$/, "") || "photograph" };
  } catch {
    if (mine !== turn) return;
    say(`The browser cannot display ${name}. Use a JPEG, PNG, WebP or GIF.`, "bad");
    return;
  }
  await label();
}

$("#file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) take(file, file.name);
  event.target.value = "";
});
for (const kind of ["dragover", "dragenter"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("#drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("#drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("#drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) take(file, file.name);
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) take(file, file.name);
});

// The photo at the chosen size. For a network that needs multiples of 32, each side is rounded
// to the nearest multiple.
async function scaled(exact) {
  const { bitmap, blob } = current;
  const longest = Number($("#side").value);
  const scale = longest ? Math.min(1, longest / Math.max(bitmap.width, bitmap.height)) : 1;
  const side = (n) =>
    exact ? Math.max(224, Math.round((n * scale) / 32) * 32) : Math.max(1, Math.round(n * scale));
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [side(bitmap.width), side(bitmap.height)];
  const drawing = canvas.getContext("2d");
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const same = canvas.width === bitmap.width && canvas.height === bitmap.height;
  return { canvas, sent: same ? blob : await asPng(canvas) };
}

function asPng(canvas) {
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

async function label() {
  const mine = ++turn;
  const wanted = [$("#left").value, $("#right").value].filter(Boolean);
  const chosen = wanted.map((name) => networks.find((network) => network.name === name));
  const { canvas, sent } = await scaled(chosen.some((network) => !network.any_size));
  if (mine !== turn) return;
  show(chosen, canvas);
  say(`labelling ${canvas.width}×${canvas.height} pixels …`, "busy");
  const began = performance.now();
  const asked = views.map((view) => ask(view, canvas, sent, mine));
  const problems = (await Promise.all(asked)).filter(Boolean);
  if (mine !== turn) return;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  if (problems.length) say(problems[0], "bad");
  else say(`${current.name}: ${canvas.width}×${canvas.height} pixels, ${seconds} s`);
}

// Fills a view; returns an error message, if any.
async function ask(view, canvas, sent, mine) {
  const query = new URLSearchParams({
    network: view.network.name, format: "json", include: "png,layers",
  });
  try {
    const post = (body) => fetch(`/predict?${query}`, { method: "POST", body });
    let response = await post(sent);
    if (response.status === 415) {
      response = await post(await asPng(canvas)); // an image that only the browser can read
    }
    const answer = await response.json();
    if (mine !== turn) return "";
    if (!response.ok) return `${answer.problem} ${answer.fix}`;
    await fill(view, answer);
    return "";
  } catch {
    return "The server does not answer. Is it still running?";
  }
}

// ---- drawing

function show(chosen, photo) {
  $("#views").replaceChildren();
  $("#views").classList.toggle("two", chosen.length > 1);
  $("#slider").hidden = false;
  views = chosen.map((network) => {
    const root = $("#view").content.cloneNode(true).firstElementChild;
    const view = { network, root, answer: null, layers: null, off: new Set() };
    $(".name", root).textContent = network.name;
    $(".about", root).textContent = [network.model, network.data].filter(Boolean).join(", ");
    for (const canvas of root.querySelectorAll("canvas")) {
      [canvas.width, canvas.height] = [photo.width, photo.height];
    }
    $(".photo", root).getContext("2d").drawImage(photo, 0, 0);
    root.classList.add("waiting");
    const stage = $(".stage", root);
    for (const kind of ["pointermove", "pointerdown"]) {
      stage.addEventListener(kind, (event) => point(view, event));
    }
    stage.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && unpoint());
    for (const button of root.querySelectorAll(".downloads button")) {
      button.addEventListener("click", () => download(view, button.dataset.kind));
    }
    for (const button of root.querySelectorAll(".switches button")) {
      button.addEventListener("click", () => switchAll(view, Boolean(button.dataset.all)));
    }
    $("#views").append(root);
    return view;
  });
  blend();
}

async function fill(view, answer) {
  const picture = new Image();
  picture.src = `data:image/png;base64,${answer.layers}`;
  await picture.decode();
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [answer.width, answer.height];
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  drawing.drawImage(picture, 0, 0);
  view.layers = drawing.getImageData(0, 0, answer.width, answer.height).data;
  view.answer = answer;
  view.off = new Set(answer.classes.filter((one) => one.background).map((one) => one.index));
  legend(view);
  paint(view);
  view.root.classList.remove("waiting");
  $(".downloads", view.root).hidden = $(".switches", view.root).hidden = false;
}

function legend(view) {
  const there = view.answer.classes.filter((one) => one.pixels);
  there.sort((a, b) => b.pixels - a.pixels);
  const absent = view.answer.classes.length - there.length;
  $(".switches span", view.root).textContent =
    `${there.length} ${there.length === 1 ? "class" : "classes"}` +
    (absent ? `, ${absent} more not found` : "");
  $(".legend", view.root).replaceChildren(
    ...there.map((one) => {
      const item = element("li");
      item.dataset.index = one.index;
      const row = element("label");
      const box = element("input");
      box.type = "checkbox";
      box.checked = !view.off.has(one.index);
      box.addEventListener("change", () => {
        if (box.checked) view.off.delete(one.index);
        else view.off.add(one.index);
        paint(view);
      });
      row.append(box, swatch(one.colour), element("span", "word", one.name));
      row.append(element("span", "share", percent(one.share)));
      row.title = `mean probability ${percent(one.probability)}`;
      item.append(row);
      return item;
    }),
  );
}

function switchAll(view, on) {
  view.off = new Set(on ? [] : view.answer.classes.map((one) => one.index));
  for (const box of view.root.querySelectorAll(".legend input")) box.checked = on;
  paint(view);
}

function swatch(colour) {
  const made = element("i", "swatch");
  made.style.background = colour;
  return made;
}

function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1)} %`;
}

function paint(view) {
  const { width, height, classes } = view.answer;
  const colours = new Uint32Array(256);
  for (const { colour, index } of classes) {
    const code = parseInt(colour.slice(1), 16);
    const bytes = [code >> 16, (code >> 8) & 255, code & 255, view.off.has(index) ? 0 : 255];
    colours[index] = new Uint32Array(new Uint8Array(bytes).buffer)[0];
  }
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colours[view.layers[4 * i]];
  $(".overlay", view.root).getContext("2d").putImageData(image, 0, 0);
}

function blend() {
  for (const { root } of views) $(".overlay", root).style.opacity = mix.value;
  mix.setAttribute("aria-valuetext", `overlay ${Math.round(100 * mix.value)} %`);
}
mix.addEventListener("input", blend);

// ---- the class under the pointer, at the same position in every view

function point(view, event) {
  const box = $(".stage", view.root).getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width;
  const y = (event.clientY - box.top) / box.height;
  if (!(x >= 0 && x < 1 && y >= 0 && y < 1)) return;
  for (const each of views) if (each.answer) tell(each, x, y);
}

function tell(view, x, y) {
  const { width, height, classes } = view.answer;
  const at = 4 * (Math.floor(y * height) * width + Math.floor(x * width));
  const one = classes[view.layers[at]];
  const tip = $(".tip", view.root);
  const cross = $(".cross", view.root);
  tip.replaceChildren(swatch(one.colour), `${one.name}, ${percent(view.layers[at + 1] / 255)}`);
  tip.hidden = cross.hidden = false;
  cross.style.left = `${100 * x}%`;
  cross.style.top = `${100 * y}%`;
  const stage = $(".stage", view.root);
  const left = x * stage.clientWidth + 14;
  tip.style.left = `${Math.max(0, Math.min(left, stage.clientWidth - tip.offsetWidth))}px`;
  tip.style.top =
    y * stage.clientHeight > 44
      ? `${y * stage.clientHeight - 12 - tip.offsetHeight}px`
      : `${y * stage.clientHeight + 14}px`;
  for (const item of view.root.querySelectorAll(".legend li")) {
    item.classList.toggle("here", Number(item.dataset.index) === one.index);
  }
}

function unpoint() {
  for (const { root } of views) {
    $(".tip", root).hidden = $(".cross", root).hidden = true;
    for (const item of root.querySelectorAll(".here")) item.classList.remove("here");
  }
}

// ---- downloads

async function download(view, kind) {
  const { answer } = view;
  const base = `${current.name}.${view.network.name.replace(/[^\w.-]+/g, "-")}`;
  const { png, layers, ...plain } = answer;
  const { width, height, categories, annotations } = answer;
  const as = (value) => new Blob([JSON.stringify(value)], { type: "application/json" });
  if (kind === "png") {
    const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
    save(new Blob([bytes], { type: "image/png" }), `${base}.png`);
  } else if (kind === "json") {
    save(as(plain), `${base}.json`);
  } else if (kind === "coco") {
    const images = [{ id: 1, width, height, file_name: current.name }];
    save(as({ images, categories, annotations }), `${base}.coco.json`);
  } else {
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [width, height];
    const drawing = canvas.getContext("2d");
    drawing.drawImage($(".photo", view.root), 0, 0);
    drawing.globalAlpha = Number(mix.value);
    drawing.drawImage($(".overlay", view.root), 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    save(blob, `${base}.overlay.png`);
  }
}

function save(blob, name) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

begin().catch(() => say("The server does not answer. Is it still running?", "bad"));
