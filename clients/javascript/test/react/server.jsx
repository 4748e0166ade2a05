// Renders a scene as a server does, and prints it: `node server.js '{"scene", "props", "url"}'`.
import { createGallery } from "gallery-client";
import { GalleryProvider } from "gallery-client/react";
import { StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { scenes } from "./scenes.jsx";

const { scene, props, url } = JSON.parse(process.argv[2]);
const Scene = scenes[scene];
if (globalThis.window || globalThis.document) throw new Error("There is a document.");
const html = renderToString(
  <StrictMode>
    <GalleryProvider gallery={createGallery({ url })}>
      <Scene {...props} />
    </GalleryProvider>
  </StrictMode>,
);
process.stdout.write(JSON.stringify(html));
