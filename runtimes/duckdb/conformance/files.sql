-- result_collection=last_statement_first_row_scalar
copy (select json -> 'value' as value from read_json_objects('args.json')) to 'copy.json';
select value from read_json('copy.json', columns = {value: 'JSON'})
