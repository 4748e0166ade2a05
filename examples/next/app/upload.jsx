"use client";

import { defineGalleryUpload } from "gallery-client/element";
import { useRouter } from "next/navigation";
import { useEffect, useRef } from "react";

defineGalleryUpload(); // on the server it does nothing

export function Upload() {
  const router = useRouter();
  const element = useRef(null);

  useEffect(() => {
    const { current } = element;
    const refresh = () => router.refresh();
    current.addEventListener("gallery-ready", refresh);
    return () => current.removeEventListener("gallery-ready", refresh);
  }, [router]);

  const url = process.env.NEXT_PUBLIC_GALLERY_URL;
  return <gallery-upload ref={element} url={url} ticket-url="/api/upload-ticket" multiple />;
}
