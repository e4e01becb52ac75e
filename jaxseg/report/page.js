// A slider moves between pictures; the next picture wipes in from the left.
const stops = ["photo", "truth", "prediction", "errors"];
for (const image of document.querySelectorAll(".image")) {
  const slider = image.querySelector("input");
  const show = () => {
    const t = Number(slider.value);
    const below = Math.floor(t);
    image.style.setProperty("--t", t);
    image.style.setProperty("--edge", t - below);
    image.classList.toggle("between", t !== below);
    slider.setAttribute(
      "aria-valuetext",
      t === below ? stops[t] : `${stops[below + 1]} over ${stops[below]}, from the left`,
    );
    image.querySelectorAll("button").forEach((button, k) => {
      button.setAttribute("aria-pressed", String(k === t));
    });
  };
  slider.addEventListener("input", show);
  for (const button of image.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      slider.value = button.dataset.stop;
      show();
    });
  }
  show();
}
