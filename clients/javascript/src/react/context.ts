import { createContext, createElement, type ReactElement, type ReactNode, useContext } from "react";
import type { Gallery } from "../types.js";

const GalleryContext = createContext<Gallery | undefined>(undefined);

export interface GalleryProviderProps {
  /** Of `createGallery`, made once: outside of components, or by `useState(() => createGallery(…))`. */
  gallery: Gallery;
  children?: ReactNode;
}

/** The Gallery of all hooks and images below. Another user is another Gallery: all lists begin anew. */
export function GalleryProvider({ gallery, children }: GalleryProviderProps): ReactElement {
  return createElement(GalleryContext.Provider, { value: gallery }, children);
}

/** The Gallery of the nearest `GalleryProvider`. */
export function useGallery(): Gallery {
  const gallery = useContext(GalleryContext);
  if (!gallery) throw new Error("There is no <GalleryProvider>.");
  return gallery;
}
