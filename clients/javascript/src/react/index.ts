"use client";

export { GalleryProvider, type GalleryProviderProps, useGallery } from "./context.js";
export { GalleryImage, type GalleryImageProps } from "./image.js";
export { type ImageResult, type ImagesFilter, useImage, useImages } from "./images.js";
export type { ImagesResult } from "./list.js";
export { type Upload, type UploadProgress, type UseUploadOptions, useUpload } from "./upload.js";
