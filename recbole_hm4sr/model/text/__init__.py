"""Models that read ids and features of items: texts, pictures, any modality."""
