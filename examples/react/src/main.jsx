import { createGallery } from "gallery-client";
import { GalleryProvider } from "gallery-client/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Photos } from "./Photos.jsx";
import { Uploads } from "./Uploads.jsx";

const gallery = createGallery({
  url: import.meta.env.VITE_GALLERY_URL ?? "http://127.0.0.1:3000",
  // The token of your sign-in; it is asked for with each request. An open Gallery needs none.
  auth: () => sessionStorage.getItem("token") ?? undefined,
});

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <GalleryProvider gallery={gallery}>
      <h1>Photos</h1>
      <Uploads />
      <Photos />
    </GalleryProvider>
  </StrictMode>,
);
