// A sandbox org and a daemon on it, as processes of their own, with something on every page.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PATIENCE_MS = 60_000;

export async function eventually(what, ask) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > until) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function start(args, env) {
  const child = spawn(process.env.STORESYNC_BIN, args, { env: { ...process.env, ...env } });
  const lines = { out: [], err: [] };
  createInterface({ input: child.stdout }).on("line", (line) => lines.out.push(line));
  createInterface({ input: child.stderr }).on("line", (line) => lines.err.push(line));
  return { child, lines };
}

export class World {
  static async start() {
    const world = new World();
    world.dir = mkdtempSync(join(tmpdir(), "storesync-console-"));
    const listen = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--keepalive-ms", "200"];
    world.org = start(["sandbox", "--data", world.dir, ...listen], {});
    const line = await eventually("the org is ready", () => world.org.lines.out[0]);
    world.env = JSON.parse(line);
    const form = new URLSearchParams({
      grant_type: "client_credentials",
      client_id: world.env.SANDBOX_CLIENT_ID,
      client_secret: world.env.SANDBOX_CLIENT_SECRET,
    });
    const login = await fetch(`${world.env.SANDBOX_HTTP}/services/oauth2/token`, { method: "POST", body: form });
    world.token = (await login.json()).access_token;
    world.daemon = start(["run", "--config", join(world.dir, "config.toml")], {
      STORESYNC__SERVE__LISTEN: "127.0.0.1:0",
      STORESYNC__ADMIN__LISTEN: "127.0.0.1:0",
      STORESYNC__SYNC__POLL_SECONDS: "1",
    });
    world.shop = await world.address("storefronts are served on");
    world.admin = await world.address("operators are served on");
    await eventually("every object is live", async () => {
      const status = await (await fetch(`${world.admin}/status`)).json();
      const live = status.objects.every((object) => object.state === "live");
      return status.objects.length > 0 && live && status.state !== "initializing";
    });
    return world;
  }

  // What lets programs in at the operators' listener.
  operator() {
    return `Bearer ${readFileSync(join(this.dir, "state", "admin.token"), "utf8").trim()}`;
  }

  // A link that lets a browser in.
  loginUrl() {
    const args = ["login-url", "--config", join(this.dir, "config.toml"), "--at", this.admin];
    return execFileSync(process.env.STORESYNC_BIN, args, { encoding: "utf8" }).trim();
  }

  async address(what) {
    return eventually(what, () => {
      const line = this.daemon.lines.err.find((line) => line.includes(what));
      return line && /http:\/\/[0-9.:]+/.exec(line)[0];
    });
  }

  async rest(method, path, body) {
    const answer = await fetch(`${this.env.SANDBOX_HTTP}/services/data/v67.0/${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${text}`);
    return text ? JSON.parse(text) : null;
  }

  async control(path, body) {
    const answer = await fetch(`${this.env.SANDBOX_HTTP}/sandbox/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
  }

  // A record with a past, a repair, and two orders that need attention.
  async furnish() {
    const found = await this.rest("GET", `query?q=${encodeURIComponent("SELECT Id FROM Product2 LIMIT 1")}`);
    this.product = found.records[0].Id;
    for (const name of ["First", "Second <b>name</b>"]) {
      await this.rest("PATCH", `sobjects/Product2/${this.product}`, { Name: name });
    }
    const gap = { attributes: { type: "Product2" }, Id: this.product, Description: "gap" };
    await this.control("changes", { told: "gaps", update: [gap] });
    const rule = { object: "Order", when: "ShippingCity = 'Nowhere'", message: "No such city.", field: "ShippingCity" };
    await this.control("rules", { validations: [rule] });
    const shop = async (path) => (await fetch(`${this.shop}${path}`)).json();
    const store = (await shop("/v1/stores")).items[0].id;
    const products = await shop(`/v1/stores/${store}/products?limit=200`);
    const product = products.items.find((item) => item.price && item.purchasable);
    for (const key of ["WEB-1", "WEB-2"]) {
      const order = {
        external_id: key,
        currency: product.price.currency,
        customer: { external_id: `C-${key}`, email: "ana@example.com", first_name: "Ana", last_name: "Lee" },
        shipping_address: { street: "1 High St", city: "Nowhere", state: "TAS", postal_code: "7000", country: "AU" },
        items: [{ product_id: product.id, quantity: 1 }],
        fields: {},
      };
      const answer = await fetch(`${this.shop}/v1/stores/${store}/orders`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(order),
      });
      if (answer.status !== 202) throw new Error(await answer.text());
      await eventually(`${key} needs attention`, async () => {
        const order = await shop(`/v1/stores/${store}/orders/${key}`);
        return order.state === "needs_attention";
      });
    }
  }

  stop() {
    for (const process of [this.daemon, this.org]) process?.child.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}
