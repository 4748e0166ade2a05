import { uploadTicket } from "gallery-client/server";
import { server } from "../../../gallery.js";

// Check the visitor's session here. A ticket is good for these photos alone, of at most 10 MB each, within ten minutes.
export async function POST(request) {
  const { files } = await request.json();
  const uses = Math.min(files, 20);
  const ticket = await uploadTicket(server, { uses, visibility: "public", maxBytes: 10_000_000 });
  return Response.json({ ...ticket, uses });
}
