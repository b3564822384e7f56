"""Names for what assistive technology cannot name: the handles of sliders, and figures."""

import anywidget

# ipywidgets labels a slider by a text beside it, which its handle (role="slider") does not refer to
NAMING = """
function render({ el }) {
  el.style.display = "none";
  const name = () => {
    const panel = el.closest(".labkit-panel");
    if (!panel) return;
    for (const slider of panel.querySelectorAll(".widget-slider")) {
      const label = slider.querySelector(".widget-label");
      const text = label ? label.textContent.trim() : "";
      const shown = slider.querySelector(".widget-readout");
      for (const handle of slider.querySelectorAll("[role=slider]")) {
        if (text && handle.getAttribute("aria-label") !== text) handle.setAttribute("aria-label", text);
        const said = shown ? shown.textContent.trim() : "";
        if (said && handle.getAttribute("aria-valuetext") !== said) handle.setAttribute("aria-valuetext", said);
      }
    }
  };
  const panel = () => el.closest(".labkit-panel");
  const watch = new MutationObserver(name);
  const begin = () => {
    if (!panel()) return;
    name();
    watch.observe(panel(), { childList: true, subtree: true, characterData: true,
                             attributes: true, attributeFilter: ["aria-valuenow", "aria-valuetext"] });
  };
  const waiting = setTimeout(begin, 0);
  return () => { clearTimeout(waiting); watch.disconnect(); };
}
export default { render };
"""


class Names(anywidget.AnyWidget):
    """Nothing to see: gives the sliders of the panel that holds it the names that stand beside them."""

    _esm = NAMING
