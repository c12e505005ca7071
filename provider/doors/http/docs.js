"use strict";
const $ = (tag, text, more) => Object.assign(document.createElement(tag), text == null ? {} : { textContent: text }, more);
const secret = document.querySelector("#secret");
let shown = "", tag = null;

const headers = (more) => secret.value ? { ...more, "Authorization": "Bearer " + secret.value, "X-API-Key": secret.value } : more;
const pretty = (text) => { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; } };

function resolve(schema, all, depth = 0) {
  if (schema && schema.$ref && depth < 8) return resolve(all[schema.$ref.split("/").pop()] || {}, all, depth + 1);
  return schema || {};
}

function example(schema, all, depth = 0) {
  schema = resolve(schema, all);
  if (depth > 6) return null;
  if ("default" in schema) return schema.default;
  if (schema.examples) return schema.examples[0];
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choice = schema.anyOf || schema.oneOf;
  if (choice) return example(choice[0], all, depth + 1);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "object": return Object.fromEntries(Object.entries(schema.properties || {}).map(([name, part]) => [name, example(part, all, depth + 1)]));
    case "array": return schema.items ? [example(schema.items, all, depth + 1)] : [];
    case "integer": return 1;
    case "number": return 1.5;
    case "boolean": return true;
    case "string": return "text";
    default: return null;
  }
}

async function send(method, path, told, fields, body, answer) {
  const query = new URLSearchParams();
  let url = path;
  for (const [parameter, input] of fields) {
    if (parameter.in === "path") url = url.replace("{" + parameter.name + "}", encodeURIComponent(input.value));
    else if (input.value !== "") for (const part of parameter.schema.type === "array" ? input.value.split(",") : [input.value]) query.append(parameter.name, part);
  }
  const asked = { method: method.toUpperCase(), headers: headers({ "Accept": "application/json, */*;q=0.5" }) };
  if (body && body.value.trim() !== "") { asked.body = body.value; asked.headers["Content-Type"] = "application/json"; }
  const begun = performance.now();
  answer.replaceChildren($("pre", "..."));
  try {
    const got = await fetch(url.replace(/^\//, "./") + (query.size ? "?" + query : ""), asked);
    const text = await got.text();
    const took = (performance.now() - begun).toFixed(1);
    answer.replaceChildren($("b", `${got.status} ${got.statusText}, ${took} ms`, { className: got.ok ? "good" : "bad" }), $("pre", pretty(text)));
  } catch (error) {
    answer.replaceChildren($("b", String(error), { className: "bad" }));
  }
}

function card(method, path, told, all) {
  const box = $("details"), head = $("summary"), inside = $("div"), fields = [], answer = $("div");
  head.append($("b", method.toUpperCase()), $("code", path), $("span", told.summary));
  box.id = told.operationId;
  if (told.description) inside.append($("p", told.description));
  inside.append($("pre", told["x-operation"]));
  for (const parameter of told.parameters || []) {
    const label = $("label", parameter.name + " "), input = $("input");
    const schema = resolve(parameter.schema, all);
    const kind = schema.type || (schema.anyOf || []).map((part) => part.type).join(" or ") || "any";
    label.append($("small", `${parameter.in}, ${kind}${kind === "array" ? ", commas between" : ""}${parameter.required ? "" : ", optional"}`), input);
    if (parameter.required) input.value = String(example(schema, all) ?? "");
    fields.push([{ ...parameter, schema }, input]);
    inside.append(label);
  }
  let body = null;
  const content = told.requestBody && told.requestBody.content["application/json"];
  if (content) {
    const label = $("label", "body ");
    body = $("textarea");
    body.value = JSON.stringify(example(content.schema, all), null, 2);
    label.append($("small", "JSON"), body);
    inside.append(label);
  }
  const button = $("button", "Call");
  button.addEventListener("click", () => send(method, path, told, fields, body, answer));
  inside.append(button, answer);
  box.append(head, inside);
  return box;
}

function show(doc) {
  const open = new Set([...document.querySelectorAll("details[open]")].map((box) => box.id));
  const all = doc.components.schemas, lists = { routes: [], call: [] };
  for (const [path, item] of Object.entries(doc.paths))
    for (const [method, told] of Object.entries(item)) lists[told.tags[0]].push(card(method, path, told, all));
  for (const [name, cards] of Object.entries(lists)) {
    const place = document.querySelector("#" + name);
    for (const box of cards) box.open = open.has(box.id);
    place.replaceChildren(...cards);
    place.previousElementSibling.hidden = !cards.length;
  }
  document.querySelector("#title").textContent = doc.info.title;
  document.querySelector("#about").textContent = doc.info.description;
}

async function look() {
  const said = document.querySelector("#said");
  try {
    const got = await fetch("./openapi.json", { headers: headers(tag ? { "If-None-Match": tag } : {}) });
    secret.parentElement.hidden = secret.parentElement.hidden && got.status !== 401;
    if (got.status === 200) {
      const text = await got.text();
      tag = got.headers.get("ETag");
      if (text !== shown) show(JSON.parse(text));
      shown = text;
    }
    said.textContent = got.status === 200 || got.status === 304 ? "" : `the provider says ${got.status}`;
  } catch {
    said.textContent = "the provider does not answer";
  }
  setTimeout(look, document.hidden ? 10000 : 2000);
}
look();
