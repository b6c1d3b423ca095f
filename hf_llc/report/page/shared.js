// What the scripts of the page share. Words from outside reach the document as text only (textContent, setAttribute).
"use strict";
const shared = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const small = (value) => (value == null ? "" : Number.isInteger(value) ? String(value) : Number(value.toPrecision(5)).toString());

  function element(tag, text, parent, attributes = {}) {
    const node = document.createElement(tag);
    if (text !== null) node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (parent) parent.append(node);
    return node;
  }

  function showTip(node, text) {
    tip.textContent = text;
    tip.hidden = false;
    const box = node.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const left = Math.max(4, Math.min(box.right + 8, width - tip.offsetWidth - 4));
    const below = box.bottom + 8 + tip.offsetHeight > document.documentElement.clientHeight;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(below ? box.top - tip.offsetHeight - 8 : box.bottom + 8) + window.scrollY}px`;
  }
  const hideTip = () => { tip.hidden = true; };

  // Radio buttons with a title; `change` is given the value that was chosen.
  function choice(form, key, title, options, chosen, change) {
    const set = element("fieldset", null, form);
    element("legend", title, set);
    for (const [value, text] of options) {
      const label = element("label", null, set);
      const input = element("input", null, label, { type: "radio", name: key, value });
      input.checked = chosen === value;
      input.addEventListener("change", () => change(value));
      label.append(text);
    }
  }

  const widthOf = (place) => Math.max(260, Math.min(960, place.clientWidth || document.getElementById("panels").clientWidth));

  return { data, element, small, showTip, hideTip, choice, widthOf };
})();
