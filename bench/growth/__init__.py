"""How cost grows: with cells, outputs, slots, jobs in the ledger, and files in the inbox."""
