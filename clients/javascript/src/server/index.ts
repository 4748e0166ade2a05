export { type FieldProblem, GalleryError, GalleryUnavailable } from "../errors.js";
export { type SignOptions, sign } from "./sign.js";
export { type TicketRules, type UploadTicket, uploadTicket } from "./ticket.js";
