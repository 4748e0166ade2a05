"use client";

import { galleryLoader } from "gallery-client/loaders/next";

// Visitors are anonymous: they may ask for presets of public images. The numbers are the presets' widths.
export default galleryLoader({
  url: process.env.NEXT_PUBLIC_GALLERY_URL,
  preset: { small: 480, large: 1600 },
});
