// A page of a test: the scene and its properties are in the URL, or in the page that a server has rendered.
import { createGallery } from "gallery-client";
import { GalleryProvider } from "gallery-client/react";
import { StrictMode, version } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { scenes } from "./scenes.jsx";

const query = new URLSearchParams(location.search);
const { scene, props, options } = window.rendered ?? JSON.parse(query.get("page"));
const Scene = scenes[scene];
const gallery = createGallery({ url: location.origin, ...options });
window.gallery = gallery;
window.reactVersion = version;
const app = (
  <StrictMode>
    <GalleryProvider gallery={gallery}>
      <Scene {...props} />
    </GalleryProvider>
  </StrictMode>
);
const root = document.getElementById("root");
if (window.rendered) {
  hydrateRoot(root, app, { onRecoverableError: (error) => console.error(error) });
} else {
  createRoot(root).render(app);
}
