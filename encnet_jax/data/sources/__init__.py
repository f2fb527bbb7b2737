"""Examples as stored: prepared records, folders, arrays; how they are decoded."""
